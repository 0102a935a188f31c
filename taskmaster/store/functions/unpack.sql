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

-- Return the jobs of a lease that have settlements, as they end by them. Jobs that the lease no
-- longer holds are left out.
create or replace function ended_jobs(
  lease leases, ids bigint[], states text[], charges int[], crashes int[], delays float8[],
  failures jsonb[]
) returns setof moved_job
language sql stable as $$
  select ended_job(
           job, state => settlement.state, charge => settlement.charge, crash => settlement.crash,
           rescue => 0, delay_seconds => settlement.delay_seconds, failure => settlement.failure)
    from unpack(ended_jobs.lease) as job
    join unnest(
      ended_jobs.ids, ended_jobs.states, ended_jobs.charges, ended_jobs.crashes,
      ended_jobs.delays, ended_jobs.failures)
      as settlement (id, state, charge, crash, delay_seconds, failure)
      on settlement.id = job.id
$$;
