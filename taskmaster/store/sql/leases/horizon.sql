-- The last position drawn, the oldest transaction that is open, and the next that will begin, in this order: whoever draws a
-- position has begun before the next one does. The next is our own number and one: a snapshot's xmax is only one beyond
-- the last that has *ended*, and others may be open above it.
select (select last_value - (not is_called)::int from positions),
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_current_xact_id()::text::bigint + 1
