-- Give back the leases of supervisors that are gone. Their jobs are charged nothing, but the rescue is counted; one that was
-- rescued before and had started again is charged a crash. The heartbeat is read again under the lock on its row. Time during
-- which the server itself was down counts for nobody.
with gone as (
  select id from supervisors
   where id <> %(supervisor)s
     and greatest(heartbeat_at, pg_postmaster_start_time()) < clock_timestamp() - make_interval(secs => %(gone_after)s)
   order by id for update skip locked),
lost as (
  delete from leases
   where supervisor = any(array(select id from gone)) or not exists (select from supervisors where id = leases.supervisor)
  returning leases as lease),
job as (
  select job.*, (job.id = any((lease).started))::int as crash, (lease).worker, (lease).claimed_at
    from lost cross join lateral unpack(lost.lease) as job),
to_ready as (
  insert into ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count + crash, crashes + crash, rescues + 1, created_at, payload, headers,
         case when crash = 0 then failures else coalesce(failures, '[]') || failure end
    from job cross join lateral jsonb_build_object('kind', 'crash', 'message', 'its host was lost again while it ran',
         'run', run_count + 1, 'worker', worker, 'at', clock_timestamp()) as failure
   where crashes + crash < %(max_crashes)s order by id
  returning 1),
to_rejected as (
  insert into rejected (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count + crash, crashes + crash, rescues + 1, created_at, payload, headers,
         coalesce(failures, '[]') || jsonb_build_object('kind', 'crash', 'message', 'its host was lost again while it ran',
         'run', run_count + 1, 'worker', worker, 'at', clock_timestamp())
    from job where crashes + crash >= %(max_crashes)s order by id
  returning 1),
buried as (
  delete from supervisors where id = any(array(select id from gone)))
select (select count(*) from to_ready) + (select count(*) from to_rejected)
