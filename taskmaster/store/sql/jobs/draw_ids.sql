-- Draw ids for jobs about to be copied in, and compute when they are due, as text that every
-- DateStyle and time zone reads the same. It is in bytes, because a session in SQL_ASCII has no
-- text. The transaction gets its number here, because it must begin before it draws a position: see
-- leases/horizon.
select array(
         select nextval(to_regclass(format('%%I.job_ids', %(schema)s::text)))
           from generate_series(1, %(count)s)) as ids,
       convert_to(to_char(
         (clock_timestamp() + make_interval(secs => %(delay_seconds)s)) at time zone 'UTC',
         'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), 'UTF8') as due
 where pg_current_xact_id() is not null
