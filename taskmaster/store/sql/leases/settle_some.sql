-- Settle some jobs of a batch as their settlements say. The lease and its token stay, with the
-- other jobs.
-- Returns how many jobs were moved; no row if the lease was lost.
-- A job that was moved before is not moved again: the first reply may have been lost.
with mine as (
  select token, leases as lease from leases where token = %(token)s for update),
ended as materialized (
  select job
    from mine
   cross join lateral ended_jobs(
     mine.lease, %(ids)s::bigint[], %(states)s::text[], %(charges)s::int[], %(crashes)s::int[],
     %(delays)s::float8[], %(failures)s::jsonb[]) as job),
kept as (
  update leases set released = released || array(select (job).id from ended)
   where token in (select token from mine)),
moved as materialized (
  select move_jobs(array_agg(job order by (job).id)) as jobs from ended)
select coalesce(moved.jobs, 0) as jobs from mine cross join moved
