-- Find the job that a claim of one job would take. Returns no row if there is none.
select pick.id, pick.priority, pick."position"
  from unnest(%(priorities)s::smallint[], %(lows)s::bigint[], %(highs)s::bigint[])
    as lane (priority, low, high)
 cross join lateral (
   select id, priority, "position" from {schema}.ready
    where queue_name = %(queue_name)s and priority = lane.priority
      and "position" > lane.low and "position" <= lane.high
    order by "position" limit 1 for update skip locked) as pick
 limit 1
