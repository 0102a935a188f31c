-- Delete all jobs of a queue that are not running, or only those in one state; how many.
with gone_ready as (
  delete from ready where queue_name = %(queue_name)s and coalesce(%(state)s::text, 'ready') = 'ready' returning 1),
gone_scheduled as (
  delete from scheduled where queue_name = %(queue_name)s and coalesce(%(state)s::text, 'scheduled') = 'scheduled' returning 1),
gone_rejected as (
  delete from rejected where queue_name = %(queue_name)s and coalesce(%(state)s::text, 'rejected') = 'rejected' returning 1)
select (select count(*) from gone_ready) + (select count(*) from gone_scheduled) + (select count(*) from gone_rejected)
