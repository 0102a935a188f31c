-- Set the schema of a connection of taskmaster's own, and the time that a statement may take.
select set_config('search_path', format('%%I, pg_temp', %(schema)s::text), false),
       set_config('statement_timeout', %(statement_timeout)s, false)
