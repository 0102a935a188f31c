-- Release all leases of one worker of this supervisor, or of all its workers but the living ones.
-- Returns how many jobs. One of the parameters `worker` and `living` is null.
with found as materialized (
  select token from leases
   where supervisor = %(supervisor)s
     and (worker = %(worker)s::text or worker <> all(%(living)s::text[]))
   order by token for update),
lost as (
  delete from leases where token = any(array(select token from found)) returning leases as lease),
released as materialized (
  select job from lost cross join lateral unpack(lost.lease) as job),
numbered as (
  select job, row_number() over (order by (job).id) as number from released),
moved as (
  select move_jobs(array_agg(job order by number)) as jobs
    from numbered group by move_chunk(number))
select coalesce(sum(jobs), 0)::bigint as jobs from moved
