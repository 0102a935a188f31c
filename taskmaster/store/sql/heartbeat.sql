-- Say that the supervisor lives; seconds until the next scheduled job is due (null: none). No row back: others took it for dead.
with alive as (
  update supervisors set heartbeat_at = clock_timestamp() where id = %(supervisor)s
  returning set_config('synchronous_commit', 'off', true))
select extract(epoch from (select min(run_at) from scheduled) - clock_timestamp())::float8,
       case when %(idle)s then setval('idle_until', greatest((select last_value from idle_until),
            (extract(epoch from clock_timestamp()) * 1000)::bigint + %(idle_ms)s::bigint)) end
  from alive
