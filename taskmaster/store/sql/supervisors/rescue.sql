-- Release the leases of supervisors that are gone, and of those that are not registered.
-- Returns how many jobs. If `only` is not null, no other leases are released.
-- A supervisor is gone if it has sent no heartbeat since the one that the rescuer saw and, unless
-- it is given up, its session no longer holds its lock. The heartbeat is compared under the lock on
-- the supervisor's row. A lease that a worker has locked now is left to the next rescue.
-- Each job's rescue is counted, and nothing is charged, with two exceptions: a job that was rescued
-- before and had started again is charged a crash, and a job that must never run twice is rejected.
with gone as (
  select supervisors.id from supervisors
    join unnest(%(ids)s::bigint[], %(heartbeats)s::timestamptz[], %(given_up)s::boolean[])
      as silent (id, heartbeat_at, given_up) using (id, heartbeat_at)
   where silent.given_up or not exists (
     select from pg_locks
      where locktype = 'advisory' and granted and classid = to_regclass('supervisors')::oid
        and database = (select oid from pg_database where datname = current_database())
        and objid = (supervisors.id %% 2147483647)::int::oid)
   order by supervisors.id for update of supervisors skip locked),
found as materialized (
  select token from leases
   where (supervisor = any(array(select id from gone))
          or not exists (select from supervisors where id = leases.supervisor))
     and (%(only)s::uuid[] is null or token = any(%(only)s::uuid[]))
   order by token for update skip locked),
lost as (
  delete from leases where token = any(array(select token from found)) returning leases as lease),
forgotten as (
  delete from supervisors where id = any(array(select id from gone))),
released as (
  select job, (lease).once, (lease).worker, job.id = any((lease).started) as is_crash
    from lost cross join lateral unpack(lost.lease) as job),
judged as (
  select *, once or is_crash as is_charged,
         once or (is_crash and (job).crashes + 1 >= %(max_crashes)s) as is_rejected,
         case when once then 'its supervisor was lost: it may have run, and must never run twice'
              else 'its supervisor was lost again while it ran' end as message
    from released),
ended as materialized (
  select ended_job(
           job, state => case when is_rejected then 'rejected' else 'ready' end,
           charge => is_charged::int, crash => is_crash::int, rescue => 1, delay_seconds => 0,
           failure => case when is_charged then jsonb_build_object(
             'cause', 'lost host', 'run', (job).run_count + 1, 'worker', worker,
             'at', clock_timestamp(), 'message', message) end) as job
    from judged),
numbered as (
  select job, row_number() over (order by (job).id) as number from ended),
moved as (
  select move_jobs(array_agg(job order by number)) as jobs
    from numbered group by move_chunk(number))
select coalesce(sum(jobs), 0)::bigint as jobs from moved
