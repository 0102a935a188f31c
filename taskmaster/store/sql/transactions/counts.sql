-- Read the counts of a job in ready. Returns no row if it is no longer there.
select run_count, crashes from {schema}.ready where id = %(id)s
