-- Insert each job into the table of its state, in the order of the array. Returns how many jobs.
-- Every move of a job ends here. Only `put` inserts jobs as well.
create or replace function move_jobs(jobs moved_job[]) returns bigint
language plpgsql strict set search_path from current as $$
begin
  insert into ready (
    id, queue_name, priority, position, run_count, crashes, rescues,
    created_at, payload, headers, failures)
  select id, queue_name, priority, coalesce(position, nextval('positions')), run_count, crashes,
         rescues, created_at, payload, headers, failures
    from unnest(jobs) where state = 'ready';
  insert into scheduled (
    id, queue_name, priority, run_at, run_count, crashes, rescues,
    created_at, payload, headers, failures)
  select id, queue_name, priority, run_at, run_count, crashes, rescues,
         created_at, payload, headers, failures
    from unnest(jobs) where state = 'scheduled';
  insert into rejected (
    id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers,
         failures
    from unnest(jobs) where state = 'rejected';
  return cardinality(jobs);
end $$;
