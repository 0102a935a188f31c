-- Delete jobs that are not running. Returns their ids.
-- Locks table by table, and in id order within each, so that two such statements cannot wait for
-- each other.
with found_ready as materialized (
  select ctid from ready where id = any(%(ids)s::bigint[]) order by id for update),
deleted_ready as (
  delete from ready where ctid = any(array(select ctid from found_ready)) returning id),
found_scheduled as materialized (
  select id from scheduled where id = any(%(ids)s::bigint[]) order by id for update),
deleted_scheduled as (
  delete from scheduled where id = any(array(select id from found_scheduled)) returning id),
found_rejected as materialized (
  select id from rejected where id = any(%(ids)s::bigint[]) order by id for update),
deleted_rejected as (
  delete from rejected where id = any(array(select id from found_rejected)) returning id)
select id from deleted_ready
 union all select id from deleted_scheduled
 union all select id from deleted_rejected
 order by id
