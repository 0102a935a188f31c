-- Give back the leases of supervisors that are gone: not heard of since the heartbeat that the rescuer has seen, and, unless
-- they are given up for good, without the session lock that a living one holds. The heartbeat is compared under the lock on
-- its row. A lease that a worker of theirs has locked at this moment is left to the next rescue. Their jobs are charged nothing, but the rescue is counted; one that was rescued before and had started again is
-- charged a crash, and one that must never run twice is rejected.
with gone as (
  select supervisors.id from supervisors
    join unnest(%(ids)s::bigint[], %(heartbeats)s::timestamptz[], %(given_up)s::boolean[]) as silent (id, heartbeat_at, given_up)
      using (id, heartbeat_at)
   where silent.given_up or not exists (
     select from pg_locks where locktype = 'advisory' and granted and database = (select oid from pg_database where datname = current_database())
        and classid = to_regclass('supervisors')::oid and objid = (supervisors.id %% 2147483647)::int::oid)
   order by supervisors.id for update of supervisors skip locked),
found as materialized (
  select ctid from leases
   where supervisor = any(array(select id from gone)) or not exists (select from supervisors where id = leases.supervisor)
     for update skip locked),
lost as (
  delete from leases where ctid = any(array(select ctid from found)) returning leases as lease),
job as (
  select job.*, (lease).once, ((lease).once or job.id = any((lease).started))::int as charge,
         (job.id = any((lease).started))::int as crash,
         jsonb_build_object('cause', 'lost host', 'run', job.run_count + 1, 'worker', (lease).worker, 'at', clock_timestamp(),
           'message', case when (lease).once then 'its host was lost: it may have run, and must never run twice'
                           else 'its host was lost again while it ran' end) as failure
    from lost cross join lateral unpack(lost.lease) as job),
judged as (
  select id, queue_name, priority, run_count + charge as run_count, crashes + crash as crashes, rescues + 1 as rescues, created_at,
         payload, headers, case when charge = 0 then failures else coalesce(failures, '[]') || failure end as failures,
         once or (crash = 1 and crashes + crash >= %(max_crashes)s) as is_rejected
    from job),
to_ready as (
  insert into ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures
    from judged where not is_rejected order by id
  returning 1),
to_rejected as (
  insert into rejected (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures
    from judged where is_rejected order by id
  returning 1),
buried as (
  delete from supervisors where id = any(array(select id from gone)))
select (select count(*) from to_ready) + (select count(*) from to_rejected)
