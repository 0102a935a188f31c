-- Have puts notify until `idle_ms` from now, or for longer if another process has asked for it.
select setval(
         to_regclass(format('%%I.idle_until', %(schema)s::text)),
         greatest(
           (select last_value from {schema}.idle_until),
           (extract(epoch from clock_timestamp()) * 1000)::bigint + %(idle_ms)s::bigint)
       ) as idle_until,
       set_config('synchronous_commit', 'off', true) as synchronous_commit
