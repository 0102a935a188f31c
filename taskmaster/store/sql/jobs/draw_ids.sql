-- Ids for jobs about to be copied in, and when they are due, as text that every DateStyle and time zone reads the same.
select array(select nextval(to_regclass(format('%%I.job_ids', %(schema)s::text))) from generate_series(1, %(count)s)),
       to_char((clock_timestamp() + make_interval(secs => %(delay_seconds)s)) at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
