-- Return the jobs that a lease still holds.
-- The planner inlines this function, so it must stay a plain select without a SET clause.
create or replace function unpack(lease leases) returns table (
  id bigint, queue_name text, priority smallint, run_count smallint, crashes smallint, rescues smallint,
  created_at timestamptz, payload json, headers json, failures jsonb
) language sql immutable as $$
  select job.id, (lease).queue_name, job.priority, job.run_count, job.crashes, job.rescues,
         job.created_at, job.payload, job.headers, job.failures
    from unnest((lease).ids, (lease).priorities, (lease).run_counts, (lease).crash_counts, (lease).rescue_counts,
                (lease).created_ats, (lease).payloads, (lease).headers, (lease).failures)
      as job (id, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
   where not job.id = any((lease).released)
$$;
