-- End the server process that served a dead worker: its transaction holds a lock until the server notices. The name is
-- compared because a pid may be another's by now.
select pg_terminate_backend(pid) from pg_stat_activity
 where pid = %(backend)s and application_name = left(%(name)s::text, 63)
