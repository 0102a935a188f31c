-- Set how long the rest of this transaction waits for a lock.
select set_config('lock_timeout', %(wait_ms)s::text, true) as lock_timeout
