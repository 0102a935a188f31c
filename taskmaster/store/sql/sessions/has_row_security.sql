-- Return whether row level security would hide jobs from this role.
-- In taskmaster's own sessions that is an error instead: see sessions/own.
select coalesce(row_security_active(to_regclass(format('%%I.ready', %(schema)s::text))::oid), false)
       as has_row_security
