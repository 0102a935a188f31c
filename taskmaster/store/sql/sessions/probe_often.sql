-- A host that is gone without a word must not keep its session, and with it the lock that says it lives: probe it soon.
select set_config('tcp_keepalives_idle', '3', false), set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false), set_config('lock_timeout', '500ms', false)
