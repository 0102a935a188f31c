-- Put all rejected jobs of a queue back; how many.
with taken as (
  delete from rejected where queue_name = %(queue_name)s returning *),
back as (
  insert into ready (id, queue_name, priority, created_at, payload, headers, failures)
  select id, queue_name, priority, created_at, payload, headers, failures from taken order by id returning 1)
select count(*) from back
