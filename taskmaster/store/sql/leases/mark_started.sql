-- Note that a job which was rescued before is about to run. Returns no row if the lease was lost.
update leases set started = started || %(id)s::bigint
 where token = %(token)s
returning true as marked
