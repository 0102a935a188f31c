-- Probe this connection often, so that a lost host soon loses its session, and with it the lock
-- that shows that it lives.
select set_config('tcp_keepalives_idle', '3', false),
       set_config('tcp_keepalives_interval', '3', false),
       set_config('tcp_keepalives_count', '3', false),
       set_config('lock_timeout', '500ms', false)
