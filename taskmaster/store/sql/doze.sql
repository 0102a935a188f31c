-- Somebody sleeps: puts shall notify until `idle_ms` from now.
select setval('idle_until', (extract(epoch from clock_timestamp()) * 1000)::bigint + %(idle_ms)s::bigint),
       set_config('synchronous_commit', 'off', true)
