-- Requeue a rejected job, its counts reset. Returns false if no rejected job has this id.
create or replace function requeue(job_id bigint) returns boolean
language plpgsql set search_path from current as $$
declare job moved_job;
begin
  delete from rejected where id = job_id returning (requeued_job(rejected)).* into job;
  if found then
    perform move_jobs(array[job]);
    return true;
  end if;
  return false;
end $$;
