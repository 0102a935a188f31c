-- Note, before it runs, that a job which was rescued before is started. No row back: the lease was lost.
update leases set started = started || %(id)s::bigint where token = %(token)s returning true
