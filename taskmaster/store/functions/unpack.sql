-- Return the jobs that a lease still holds, as they go back to ready: each keeps its place.
-- The planner inlines this function, so it must stay a plain select without a SET clause.
create or replace function unpack(lease leases) returns setof moved_job
language sql immutable as $$
  select job.id, (lease).queue_name, job.priority, job.position, job.run_count, job.crashes,
         job.rescues, job.created_at, job.payload, job.headers, job.failures, 'ready'::text,
         null::timestamptz
    from unnest(
      (lease).ids, (lease).priorities, (lease).positions, (lease).run_counts,
      (lease).crash_counts, (lease).rescue_counts, (lease).created_ats, (lease).payloads,
      (lease).headers, (lease).failures)
      as job (id, priority, position, run_count, crashes, rescues, created_at, payload, headers,
              failures)
   where not job.id = any((lease).released)
$$;
