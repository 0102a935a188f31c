-- Runs and crashes so far of a job in ready. No row back: it is not there any more.
select run_count, crashes from {schema}.ready where id = %(id)s
