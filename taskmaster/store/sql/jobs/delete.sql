-- Delete jobs that are not running; the ids of those that were.
with gone_ready as (delete from ready where id = any(%(ids)s::bigint[]) returning id),
     gone_scheduled as (delete from scheduled where id = any(%(ids)s::bigint[]) returning id),
     gone_rejected as (delete from rejected where id = any(%(ids)s::bigint[]) returning id)
select id from gone_ready union all select id from gone_scheduled union all select id from gone_rejected order by id
