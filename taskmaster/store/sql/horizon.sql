-- Which transactions have ended, and the last position drawn: a position drawn before the oldest open transaction began is
-- visible by now, or will never be.
select pg_snapshot_xmin(pg_current_snapshot())::text::bigint, pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       (select last_value - (not is_called)::int from positions)
