-- Set what a connection that callbacks write through needs: READ COMMITTED, writable, no bound on
-- idle time, because a callback may work for long between two statements, and keepalives that
-- release the locks of a lost host within 19 s. The rest is as the role has it.
select set_config('default_transaction_isolation', 'read committed', false),
       set_config('default_transaction_read_only', 'off', false),
       set_config('idle_in_transaction_session_timeout', '0', false),
       set_config('idle_session_timeout', '0', false),
       -- It exists from Postgres 17 on.
       case when current_setting('transaction_timeout', true) is not null
            then set_config('transaction_timeout', '0', false) end,
       set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false)
