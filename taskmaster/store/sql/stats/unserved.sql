-- Count the ready and scheduled jobs of each queue that no supervisor serves, up to `most` each, of
-- up to `most_queues` queues.
-- Returns nothing if a supervisor has not said which queues it serves.
-- The names are found one after the other in the indexes, without reading each job. The order of
-- the ready jobs that are counted keeps the planner from reading the whole table.
with recursive names (name) as (
  select least((select min(queue_name) from ready), (select min(queue_name) from scheduled))
  union all
  select least((select min(queue_name) from ready where queue_name > name),
               (select min(queue_name) from scheduled where queue_name > name))
    from names where name is not null),
served (name) as (
  select unnest(queue_names) from supervisors
  union
  select unnest(%(also_served)s::text[])),
unserved (name) as (
  select name from names
   where name is not null
     and not exists (select from supervisors where queue_names is null)
     and not exists (select from served where served.name = names.name)
   limit %(most_queues)s)
select name as queue_name,
       (select count(*) from (
          select from ready where queue_name = name
           order by priority, position limit %(most)s) as few)
       + (select count(*) from (
          select from scheduled where queue_name = name limit %(most)s) as few) as jobs
  from unserved order by name
