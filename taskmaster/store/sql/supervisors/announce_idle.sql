-- Somebody sleeps: puts shall notify until `idle_ms` from now, or for as long as another has asked for.
select setval(to_regclass(format('%%I.idle_until', %(schema)s::text)),
              greatest((select last_value from {schema}.idle_until),
                       (extract(epoch from clock_timestamp()) * 1000)::bigint + %(idle_ms)s::bigint)),
       set_config('synchronous_commit', 'off', true)
