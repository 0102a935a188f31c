-- Delivery contracts, and what a supervisor says of itself with each heartbeat.

-- `running`: the runs that have lasted for a while, as JSON: job, queue_name, worker, pid, seconds, progress, note.
alter table supervisors add column lost_leases bigint not null default 0, add column running jsonb not null default '[]';

-- A lease of jobs that must never run twice: what is rescued of it is rejected.
alter table leases add column once boolean not null default false;

-- What runs now, for a second or longer, and how far it says that it is.
create view running as
  select (run->>'job')::bigint as job_id, run->>'queue_name' as queue_name, run->>'worker' as worker, (run->>'pid')::int as pid,
         (run->>'seconds')::float8 + extract(epoch from clock_timestamp() - heartbeat_at)::float8 as seconds,
         (run->>'progress')::float8 as progress, run->>'note' as note
    from supervisors cross join lateral jsonb_array_elements(running) as run;

-- The next job of a queue, locked until the caller's transaction ends. The settings pin the plan, for churn makes
-- statistics lie, and end with the call: the transaction is the callback's to write in.
create function claim_one(wanted text, priorities smallint[], lows bigint[]) returns table (
  place tid, "position" bigint, id bigint, queue_name text, payload text, headers text, priority smallint, run_count int,
  created_at timestamptz, crashes smallint, rescues smallint)
language plpgsql set search_path from current set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
  return query
  select pick.ctid, pick.position, pick.id, pick.queue_name, pick.payload::text, pick.headers::text, pick.priority,
         pick.run_count + 1, pick.created_at, pick.crashes, pick.rescues
    from unnest(priorities, lows) as lane (priority, low)
   cross join lateral (
     select ready.ctid, ready.* from ready
      where ready.queue_name = wanted and ready.priority = lane.priority and ready.position > lane.low
      order by ready.position limit 1 for update skip locked) as pick
   limit 1;
end $$;
