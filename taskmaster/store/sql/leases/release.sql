-- Release the jobs of a lease that have not started, uncharged. The lease and its token stay.
-- Returns how many jobs were moved; no row if the lease was lost.
-- A job that was released before is not released again: the first reply may have been lost.
with mine as (
  select token, leases as lease from leases where token = %(token)s for update),
released as materialized (
  select job
    from mine cross join lateral unpack(mine.lease) as job where job.id = any(%(ids)s::bigint[])),
kept as (
  update leases set released = released || array(select (job).id from released)
   where token in (select token from mine)),
moved as materialized (
  select move_jobs(array_agg(job order by (job).id)) as jobs from released)
select coalesce(moved.jobs, 0) as jobs from mine cross join moved
