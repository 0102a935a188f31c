-- End a batch: the jobs named go where their endings say, all others are acked. No row back: the lease was lost, nothing is
-- written. Endings apply only to jobs found in the row that this statement deleted: some may have been given back meanwhile.
with lost as (
  delete from leases where token = %(token)s returning leases as lease),
ending as (
  select * from unnest(%(ids)s::bigint[], %(states)s::text[], %(charges)s::smallint[], %(crashes)s::smallint[],
                       %(delays)s::float8[], %(failures)s::jsonb[])
    as ending (id, state, charge, crash, delay_seconds, failure)),
job as (
  select job.id, queue_name, priority, job.run_count + charge as run_count, job.crashes + crash as crashes, rescues, created_at,
         payload, headers, state, clock_timestamp() + make_interval(secs => delay_seconds) as run_at,
         case when failure is null then failures
              else jsonb_path_query_array(coalesce(failures, '[]'), '$[last - 18 to last]') || failure end as failures
    from lost cross join lateral unpack(lost.lease) as job join ending on ending.id = job.id),
to_ready as (
  insert into ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures
    from job where state = 'ready' order by id),
to_scheduled as (
  insert into scheduled (id, queue_name, priority, run_at, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_at, run_count, crashes, rescues, created_at, payload, headers, failures
    from job where state = 'scheduled' order by id),
to_rejected as (
  insert into rejected (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures
    from job where state = 'rejected' order by id)
select true from lost
