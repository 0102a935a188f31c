-- Give back the jobs of a lease that were not started, uncharged; the lease and its token stay. No row back: the lease was lost.
with kept as (
  update leases set given_back = given_back || %(ids)s::bigint[] where token = %(token)s returning leases as lease),
-- `unpack` leaves out what was given back, so look at the row without that column.
job as (
  select job.*, (lease).queue_name
    from kept cross join lateral
         unnest((lease).ids, (lease).priorities, (lease).run_counts, (lease).crash_counts, (lease).rescue_counts,
                (lease).created_ats, (lease).payloads, (lease).headers, (lease).failures)
           as job (id, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
   where job.id = any(%(ids)s::bigint[])),
back as (
  insert into ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures from job order by id)
select true from kept
