-- Ids for jobs about to be copied in, and when they are due.
select array(select nextval(to_regclass(format('%%I.job_ids', %(schema)s::text))) from generate_series(1, %(count)s)),
       clock_timestamp() + make_interval(secs => %(delay_seconds)s)
