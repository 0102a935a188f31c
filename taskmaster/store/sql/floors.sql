-- For each priority, the lowest visible position not below its floor (null: none), and what tells when every position drawn
-- until now is visible or dead: all transactions below `xmax` have ended once `xmin` reaches it.
select array(select (select position from ready
                      where queue_name = %(queue_name)s and priority = lane.priority and position > lane.floor
                      order by position limit 1)
               from unnest(%(priorities)s::smallint[], %(floors)s::bigint[]) with ordinality as lane (priority, floor, n)
              order by n),
       pg_snapshot_xmin(pg_current_snapshot())::text::bigint,
       pg_snapshot_xmax(pg_current_snapshot())::text::bigint,
       (select last_value from positions)
