-- Release all leases of one worker of this supervisor, or of all its workers but the living ones.
-- Returns how many jobs. One of the parameters `worker` and `living` is null.
-- With `reject_once`, jobs that must never run twice are rejected: they may have run.
with found as materialized (
  select token from leases
   where supervisor = %(supervisor)s
     and (worker = %(worker)s::text or worker <> all(%(living)s::text[]))
   order by token for update),
lost as (
  delete from leases where token = any(array(select token from found)) returning leases as lease),
judged as (
  select job, (lease).worker, (lease).once and %(reject_once)s as is_rejected
    from lost cross join lateral unpack(lost.lease) as job),
released as materialized (
  select case when is_rejected then ended_job(
           job, state => 'rejected', charge => 1, crash => 0, rescue => 0, delay_seconds => 0,
           failure => jsonb_build_object(
             'cause', 'lost database', 'run', (job).run_count + 1, 'worker', worker,
             'at', clock_timestamp(), 'message', %(message)s::text))
           else job end as job
    from judged),
numbered as (
  select job, row_number() over (order by (job).id) as number from released),
moved as (
  select move_jobs(array_agg(job order by number)) as jobs
    from numbered group by move_chunk(number))
select coalesce(sum(jobs), 0)::bigint as jobs from moved
