-- Ack all jobs of a batch but some, which stay in its lease. Returns no row if the lease was lost.
update leases
   set released = array(select id from unnest(ids) as id where not id = any(%(ids)s::bigint[]))
 where token = %(token)s
returning true as kept
