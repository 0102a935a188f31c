-- Since when a job could run: its age in the queue, whatever it was delayed by before. A constant first, which rewrites no row.
alter table ready add column ready_at timestamptz not null default now();
alter table ready alter column ready_at set default clock_timestamp();

-- As before, and since when the job could run.
drop function claim_one(text, smallint[], bigint[]);
create function claim_one(wanted text, priorities smallint[], lows bigint[]) returns table (
  place tid, "position" bigint, id bigint, queue_name text, payload text, headers text, priority smallint, run_count int,
  created_at timestamptz, crashes smallint, rescues smallint, ready_at timestamptz)
language plpgsql set search_path from current set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
  return query
  select pick.ctid, pick.position, pick.id, pick.queue_name, pick.payload::text, pick.headers::text, pick.priority,
         pick.run_count + 1, pick.created_at, pick.crashes, pick.rescues, pick.ready_at
    from unnest(priorities, lows) as lane (priority, low)
   cross join lateral (
     select ready.ctid, ready.* from ready
      where ready.queue_name = wanted and ready.priority = lane.priority and ready.position > lane.low
      order by ready.position limit 1 for update skip locked) as pick
   limit 1;
end $$;
