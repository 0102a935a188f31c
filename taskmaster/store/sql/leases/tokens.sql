-- Find the leases of a worker.
select token from leases
 where supervisor = %(supervisor)s and worker = %(worker)s order by token
