-- Set what a connection that callbacks write through needs: READ COMMITTED, writable, and
-- keepalives that release the locks of a lost host within 19 s. The rest is as the role has it.
select set_config('default_transaction_isolation', 'read committed', false),
       set_config('default_transaction_read_only', 'off', false),
       set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false)
