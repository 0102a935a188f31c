-- Of each queue named: jobs by state, counted up to `most`, and the age in seconds of the oldest that could run (null: there is
-- none), by the head of each priority's lane.
select queue.name,
       (select count(*) from (select 1 from ready where queue_name = queue.name limit %(most)s) as few),
       (select count(*) from (select 1 from scheduled where queue_name = queue.name limit %(most)s) as few),
       (select coalesce(sum(cardinality(ids) - cardinality(released)), 0)::bigint from leases where queue_name = queue.name),
       (select count(*) from (select 1 from rejected where queue_name = queue.name limit %(most)s) as few),
       (select extract(epoch from clock_timestamp() - min(head.ready_at))::float8
          from unnest(%(priorities)s::smallint[]) as lane (priority)
         cross join lateral (
           select ready_at from ready where queue_name = queue.name and priority = lane.priority order by position limit 1) as head)
  from unnest(%(queue_names)s::text[]) as queue (name)
