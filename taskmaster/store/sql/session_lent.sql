-- What a connection needs that callbacks write through: READ COMMITTED, and that it may write. The rest is as its role has it.
select set_config('default_transaction_isolation', 'read committed', false),
       set_config('default_transaction_read_only', 'off', false)
