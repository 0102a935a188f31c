-- End a job that this transaction holds and that is done. Its row has not moved: it is locked.
delete from {schema}.ready where ctid = %(place)s::tid and id = %(id)s
