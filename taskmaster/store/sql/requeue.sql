-- Put rejected jobs back; the ids of those that were.
select id from unnest(%(ids)s::bigint[]) as job (id) where requeue(id) order by id
