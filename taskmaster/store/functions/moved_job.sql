-- The jobs that `move_jobs` takes: one function for each table that they come from, and one for the
-- end of a run. A lease has `unpack`.
-- The bodies are bound to their tables when they are created, so they work with every search path,
-- and the planner inlines them.

-- Return a job of ready whose run was lost with its transaction. It keeps its place.
create or replace function locked_job(job ready) returns moved_job
language sql immutable
return row(
  job.id, job.queue_name, job.priority, job.position, job.run_count, job.crashes, job.rescues,
  job.created_at, job.payload, job.headers, job.failures, 'ready', null)::moved_job;

-- Return a scheduled job that is due.
create or replace function promoted_job(job scheduled) returns moved_job
language sql immutable
return row(
  job.id, job.queue_name, job.priority, null, job.run_count, job.crashes, job.rescues,
  job.created_at, job.payload, job.headers, job.failures, 'ready', job.run_at)::moved_job;

-- Return a rejected job that starts again, its counts reset. It keeps the history of its failures.
create or replace function requeued_job(job rejected) returns moved_job
language sql immutable
return row(
  job.id, job.queue_name, job.priority, null, 0, 0, 0,
  job.created_at, job.payload, job.headers, job.failures, 'ready', null)::moved_job;

-- Return the largest count that a job can have, or a smaller one as it is.
create or replace function bounded_count(count int) returns smallint
language sql immutable
return least(count, 32767)::smallint;

-- Return a job whose run has ended. `charge`, `crash` and `rescue` are added to its counts.
create or replace function ended_job(
  job moved_job, state text, charge int, crash int, rescue int, delay_seconds float8, failure jsonb
) returns moved_job
language sql
return row(
  job.id, job.queue_name, job.priority, job.position, bounded_count(job.run_count + charge),
  bounded_count(job.crashes + crash), bounded_count(job.rescues + rescue), job.created_at,
  job.payload, job.headers,
  append_failure(job.failures, failure), state,
  clock_timestamp() + make_interval(secs => delay_seconds))::moved_job;
