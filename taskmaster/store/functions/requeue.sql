-- Requeue a rejected job, its counts reset. Returns false if no rejected job has this id.
create or replace function requeue(job_id bigint) returns boolean
language plpgsql set search_path from current as $$
begin
  with taken as (delete from rejected where id = job_id returning *)
  insert into ready (id, queue_name, priority, created_at, payload, headers, failures)
  select id, queue_name, priority, created_at, payload, headers, failures from taken;
  return found;
end $$;
