-- Settle a batch: the jobs named end as their settlements say, all others are acked.
-- Returns how many jobs were moved; no row if the lease was lost, and then nothing is written.
-- A settlement applies only to a job found in the row that this statement deleted, because some
-- jobs may have been released before.
with lost as (
  delete from leases where token = %(token)s returning leases as lease),
ended as materialized (
  select job
    from lost
   cross join lateral ended_jobs(
     lost.lease, %(ids)s::bigint[], %(states)s::text[], %(charges)s::int[], %(crashes)s::int[],
     %(delays)s::float8[], %(failures)s::jsonb[]) as job),
moved as materialized (
  select move_jobs(array_agg(job order by (job).id)) as jobs from ended)
select coalesce(moved.jobs, 0) as jobs from lost cross join moved
