-- Count the jobs of each queue by state, each up to `most`, and find the age in seconds of the
-- oldest that can run (null: there is none).
-- The oldest is looked for among the first thousand of each priority, because a released job keeps
-- its place while its age starts again.
select queue.name as queue_name,
       (select count(*) from (
          select from ready where queue_name = queue.name limit %(most)s) as few) as ready,
       (select count(*) from (
          select from scheduled where queue_name = queue.name limit %(most)s) as few) as scheduled,
       (select coalesce(sum(cardinality(ids) - cardinality(released)), 0)::bigint
          from leases where queue_name = queue.name) as running,
       (select count(*) from (
          select from rejected where queue_name = queue.name limit %(most)s) as few) as rejected,
       (select -seconds_until(min(head.ready_at))
          from unnest(%(priorities)s::smallint[]) as lane (priority)
         cross join lateral (
           select ready_at from ready
            where queue_name = queue.name and priority = lane.priority
            order by position limit 1000) as head) as oldest_seconds
  from unnest(%(queue_names)s::text[]) as queue (name)
