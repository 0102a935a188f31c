-- What a connection needs that callbacks write through: READ COMMITTED, and that it may write. The rest is as its role has it.
select set_config('default_transaction_isolation', 'read committed', false),
       set_config('default_transaction_read_only', 'off', false),
       set_config('tcp_keepalives_idle', '10', false), -- a host that is gone lets go of its locks within 19 s
       set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false)
