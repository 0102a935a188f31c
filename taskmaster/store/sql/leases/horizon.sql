-- Look at the positions that may still become ready. Always returns one row, from one snapshot.
-- `drawn` is the last position drawn, `xmin` the oldest transaction that is open, and `xmax` the
-- next one that will begin. They are read in this order, because a transaction begins before it
-- draws a position. `xmax` is our own number and one: a snapshot's xmax is only one beyond the last
-- transaction that has ended, and others may be open above it.
-- `lowest` is, for each of the priorities, the lowest position of a job in ready or in a lease
-- (null: none). Ready is searched above `lows` and up to `settled`. A job that a claim in flight
-- has locked counts, because this snapshot still sees it in ready.
with held as (
  select job.priority, min(job.position) as position
    from leases as lease
   cross join lateral unnest(lease.ids, lease.priorities, lease.positions)
      as job (id, priority, position)
   where lease.queue_name = %(queue_name)s and not job.id = any(lease.released)
   group by job.priority)
select (select last_value - (not is_called)::int from positions) as drawn,
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint as xmin,
       pg_current_xact_id()::text::bigint + 1 as xmax,
       array(
         select least(
                  (select ready.position from ready
                    where ready.queue_name = %(queue_name)s and ready.priority = lane.priority
                      and ready.position > lane.low and ready.position <= %(settled)s
                    order by ready.position limit 1),
                  (select held.position from held where held.priority = lane.priority))
           from unnest(%(priorities)s::smallint[], %(lows)s::bigint[])
           with ordinality as lane (priority, low, number)
          order by number) as lowest
