-- End the server process of a worker that has exited: its transaction holds a lock until the server
-- notices the exit. The name is compared because the pid may be another session's by now.
select pg_terminate_backend(pid) as terminated from pg_stat_activity
 where pid = %(backend)s and application_name = left(%(name)s::text, 63)
