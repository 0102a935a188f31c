-- Lock the next job of a queue until the caller's transaction ends. Returns no row if there is
-- none.
-- The settings pin the plan, because churn makes the statistics wrong. They end with the call: the
-- rest of the transaction belongs to the callback.
create or replace function claim_one(wanted text, priorities smallint[], lows bigint[])
returns table (
  place tid, "position" bigint, id bigint, queue_name text, payload text, headers text,
  priority smallint, run_count int, created_at timestamptz, crashes smallint, rescues smallint,
  ready_at timestamptz
)
language plpgsql set search_path from current
set enable_seqscan = off set enable_bitmapscan = off set jit = off as $$
begin
  return query
  select pick.ctid, pick.position, pick.id, pick.queue_name, pick.payload::text,
         pick.headers::text, pick.priority, pick.run_count + 1, pick.created_at, pick.crashes,
         pick.rescues, pick.ready_at
    from unnest(priorities, lows) as lane (priority, low)
   cross join lateral (
     select ready.ctid, ready.* from ready
      where ready.queue_name = wanted and ready.priority = lane.priority
        and ready.position > lane.low
      order by ready.position limit 1 for update skip locked) as pick
   limit 1;
end $$;
