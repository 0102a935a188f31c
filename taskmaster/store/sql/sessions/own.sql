-- Set what every connection of taskmaster's own depends on, whatever the defaults of the role or
-- the database are. The locks of a lost host are released within 19 s, by the keepalives.
select set_config('search_path', format('%%I, pg_temp', %(schema)s::text), false),
       set_config('default_transaction_isolation', 'read committed', false),
       set_config('default_transaction_read_only', 'off', false),
       set_config('lock_timeout', '10s', false),
       set_config('statement_timeout', %(statement_timeout)s, false),
       set_config('jit', 'off', false),
       set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false)
