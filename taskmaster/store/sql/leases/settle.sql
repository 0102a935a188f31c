-- Settle a batch: the jobs named end as their settlements say, all others are acked.
-- Returns how many jobs were moved; no row if the lease was lost, and then nothing is written.
-- A settlement applies only to a job found in the row that this statement deleted, because some
-- jobs may have been released before.
with lost as (
  delete from leases where token = %(token)s returning leases as lease),
settlement as (
  select id, state, charge, crash, delay_seconds, failure
    from unnest(
      %(ids)s::bigint[], %(states)s::text[], %(charges)s::int[], %(crashes)s::int[],
      %(delays)s::float8[], %(failures)s::jsonb[])
      as settlement (id, state, charge, crash, delay_seconds, failure)),
ended as materialized (
  select ended_job(
           job, state => settlement.state, charge => charge, crash => crash, rescue => 0,
           delay_seconds => delay_seconds, failure => failure) as job
    from lost
   cross join lateral unpack(lost.lease) as job
    join settlement on settlement.id = job.id),
moved as materialized (
  select move_jobs(array_agg(job order by (job).id)) as jobs from ended)
select coalesce(moved.jobs, 0) as jobs from lost cross join moved
