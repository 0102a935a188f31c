-- For the rest of this transaction, how long to wait for a lock.
select set_config('lock_timeout', %(wait_ms)s::text, true)
