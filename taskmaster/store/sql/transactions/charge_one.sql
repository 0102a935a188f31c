-- Move a job that is in ready, as it was before the run that is charged, to where the run's ending says. Ours when we hold it;
-- waited for when another has it locked. How many were moved, and how many were there to be charged.
with mine as (
  select ctid as place from {schema}.ready where id = %(id)s and run_count = %(run)s - 1 for update),
taken as (
  delete from {schema}.ready where ctid = any(array(select place from mine)) returning *),
job as (
  select id, queue_name, priority, run_count + %(charge)s::smallint as run_count, crashes + %(crash)s::smallint as crashes, rescues,
         created_at, payload, headers, %(state)s::text as state, clock_timestamp() + make_interval(secs => %(delay_seconds)s::float8) as run_at,
         case when %(failure)s::jsonb is null then failures
              else jsonb_path_query_array(coalesce(failures, '[]'), '$[last - 18 to last]') || %(failure)s::jsonb end as failures
    from taken),
to_ready as (
  insert into {schema}.ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures from job where state = 'ready'),
to_scheduled as (
  insert into {schema}.scheduled (id, queue_name, priority, run_at, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_at, run_count, crashes, rescues, created_at, payload, headers, failures
    from job where state = 'scheduled'),
to_rejected as (
  insert into {schema}.rejected (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures from job where state = 'rejected')
select (select count(*) from taken), (select count(*) from {schema}.ready where id = %(id)s and run_count = %(run)s - 1)
