-- Ack the job that this transaction has locked. The lock has kept its row where it was.
delete from {schema}.ready where ctid = %(place)s::tid and id = %(id)s
