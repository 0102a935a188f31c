-- Look at the positions that may still become ready. Always returns one row, from one snapshot.
-- `drawn` is the last position drawn, `xmin` the oldest transaction that is open, and `xmax` the
-- next one that will begin. They are read in this order, because a transaction begins before it
-- draws a position. `xmax` is our own number and one: a snapshot's xmax is only one beyond the last
-- transaction that has ended, and others may be open above it.
-- `lowest` is, for each of the priorities, the lowest position of a job in ready (null: none),
-- above `lows` and up to `settled`. A job that a claim in flight has locked counts, because this
-- snapshot still sees it in ready.
-- `held` are the lowest places up to `settled` of jobs in leases, and of those held at the look
-- before that are in ready by now.
with leased as (
  select job.priority, job.position
    from leases as lease
   cross join lateral unnest(lease.ids, lease.priorities, lease.positions)
      as job (id, priority, position)
   where lease.queue_name = %(queue_name)s and not job.id = any(lease.released)),
back as (
  select known.priority, known.position
    from unnest(%(held_priorities)s::smallint[], %(held_positions)s::bigint[])
      as known (priority, position)
   where exists (
     select from ready
      where ready.queue_name = %(queue_name)s and ready.priority = known.priority
        and ready.position = known.position)),
held as materialized (
  select priority, position from (select * from leased union select * from back) as any_held
   where position <= %(settled)s order by position limit %(most_held)s)
select (select last_value - (not is_called)::int from positions) as drawn,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin,
       pg_current_xact_id()::text::bigint + 1 as xmax,
       array(
         select (
           select ready.position from ready
            where ready.queue_name = %(queue_name)s and ready.priority = lane.priority
              and ready.position > lane.low and ready.position <= %(settled)s
            order by ready.position limit 1)
           from unnest(%(priorities)s::smallint[], %(lows)s::bigint[])
           with ordinality as lane (priority, low, number)
          order by number) as lowest,
       array(select priority from held order by position) as held_priorities,
       array(select position from held order by position) as held_positions
