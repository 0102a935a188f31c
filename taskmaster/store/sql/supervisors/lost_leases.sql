-- Find the leases of these supervisors and of those that are not registered.
select token from leases
 where supervisor = any(%(ids)s::bigint[])
    or not exists (select from supervisors where id = leases.supervisor)
 order by token
