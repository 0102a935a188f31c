-- Say that the supervisor lives and what it runs; seconds until the next scheduled job is due (null: none), the last heartbeats of
-- the others, whether its session holds its lock. No row back: others took it for dead.
with alive as (
  update supervisors set heartbeat_at = clock_timestamp(), lost_leases = %(lost_leases)s, running = %(running)s::jsonb
   where id = %(supervisor)s
  returning set_config('synchronous_commit', 'off', true))
select extract(epoch from (select min(run_at) from scheduled) - clock_timestamp())::float8,
       (select array_agg(id order by id) from supervisors where id <> %(supervisor)s),
       (select array_agg(heartbeat_at order by id) from supervisors where id <> %(supervisor)s),
       %(locked)s or pg_try_advisory_lock(to_regclass('supervisors')::oid::int, (%(supervisor)s::bigint %% 2147483647)::int),
       case when %(idle)s then setval('idle_until', greatest((select last_value from idle_until),
            (extract(epoch from clock_timestamp()) * 1000)::bigint + %(idle_ms)s::bigint)) end
  from alive
