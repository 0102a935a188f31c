-- The oldest transaction that is open, the next that will begin, and the last position drawn. A position drawn before the
-- oldest open transaction began is visible by now, or will never be. The next is our own number and one: a snapshot's xmax
-- is only one beyond the last that has *ended*, and others may be open above it.
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_current_xact_id()::text::bigint + 1,
       (select last_value - (not is_called)::int from positions)
