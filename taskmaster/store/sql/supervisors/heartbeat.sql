-- Write a heartbeat, with what the supervisor runs and serves, and have puts notify if it is idle.
-- Returns seconds until the next scheduled job is due (null: none), the last heartbeats of the
-- others, and whether this session holds the supervisor's lock.
-- Returns no row if another supervisor has rescued this one's leases.
with alive as (
  update supervisors
     set heartbeat_at = clock_timestamp(), lost_leases = %(lost_leases)s,
         running = %(running)s::jsonb, queue_names = %(queue_names)s::text[]
   where id = %(supervisor)s
  returning set_config('synchronous_commit', 'off', true))
select seconds_until((select min(run_at) from scheduled)) as due_seconds,
       array(select id from supervisors where id <> %(supervisor)s order by id) as ids,
       array(
         select heartbeat_at from supervisors where id <> %(supervisor)s order by id) as heartbeats,
       %(locked)s or pg_try_advisory_lock(
         to_regclass('supervisors')::oid::int,
         (%(supervisor)s::bigint %% 2147483647)::int) as locked,
       case when %(idle)s then setval('idle_until', greatest(
         (select last_value from idle_until),
         (extract(epoch from clock_timestamp()) * 1000)::bigint + %(idle_ms)s::bigint))
       end as idle_until
  from alive
