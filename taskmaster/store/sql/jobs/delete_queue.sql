-- Delete all jobs of a queue that are not running, or those in one state (null: any).
-- Returns how many. Locks table by table, and in id order within each: see delete.
with found_ready as materialized (
  select ctid from ready
   where queue_name = %(queue_name)s and coalesce(%(state)s::text, 'ready') = 'ready'
   order by id for update),
deleted_ready as (
  delete from ready where ctid = any(array(select ctid from found_ready)) returning 1),
found_scheduled as materialized (
  select ctid from scheduled
   where queue_name = %(queue_name)s and coalesce(%(state)s::text, 'scheduled') = 'scheduled'
   order by id for update),
deleted_scheduled as (
  delete from scheduled where ctid = any(array(select ctid from found_scheduled)) returning 1),
found_rejected as materialized (
  select ctid from rejected
   where queue_name = %(queue_name)s and coalesce(%(state)s::text, 'rejected') = 'rejected'
   order by id for update),
deleted_rejected as (
  delete from rejected where ctid = any(array(select ctid from found_rejected)) returning 1)
select (select count(*) from deleted_ready) + (select count(*) from deleted_scheduled)
       + (select count(*) from deleted_rejected) as jobs
