-- Put rejected jobs back; the ids of those that were. In the order of the ids, so that two of these cannot wait for each other.
select id from (select distinct id from unnest(%(ids)s::bigint[]) as job (id) order by id offset 0) as ordered where requeue(id)
