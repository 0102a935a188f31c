-- Find up to `most` jobs that are due, but none of those in `skipped`.
select id from scheduled
 where run_at <= clock_timestamp() and not id = any(%(skipped)s::bigint[])
 order by run_at limit %(most)s
