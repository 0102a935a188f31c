-- Claim up to `batch` jobs of one queue under a new token, and settle on the way the batch `done`,
-- whose jobs all acked (null: there is none). One statement, so that no worker can stop between the
-- two with a lease locked.
-- Always returns a first row, with a null id if nothing was found. `settled` is false if the lease
-- of `done` was lost. A time that Python does not have becomes its first or last one.
-- A claim alone need not be `durable`: if Postgres crashes and loses it, its jobs are ready again.
-- A claim of jobs that must not run twice is durable.
with settled as (
  delete from leases where token = %(done)s::uuid returning true),
picked as materialized (
  select pick.ctid
    from unnest(%(priorities)s::smallint[], %(lows)s::bigint[], %(highs)s::bigint[])
      as lane (priority, low, high)
   cross join lateral (
     select ctid from ready
      where queue_name = %(queue_name)s and priority = lane.priority
        and position > lane.low and position <= lane.high
      order by position limit %(batch)s for update skip locked) as pick
   limit %(batch)s),
taken as (
  delete from ready where ctid = any(array(select ctid from picked)) returning *),
leased as (
  insert into leases (
    supervisor, worker, queue_name, once, ids, priorities, positions, run_counts, crash_counts,
    rescue_counts, created_ats, payloads, headers, failures)
  select %(supervisor)s, %(worker)s, %(queue_name)s, %(once)s, array_agg(id), array_agg(priority),
         array_agg(position), array_agg(run_count), array_agg(crashes), array_agg(rescues),
         array_agg(created_at), array_agg(payload), array_agg(headers), array_agg(failures)
    from taken
   where case when %(durable)s then true
              else set_config('synchronous_commit', 'off', true) is not null end
  having count(*) > 0
  returning token)
select exists (select from settled) as settled, (select token from leased) as token, position,
       id, queue_name, payload, headers, priority, run_count + 1 as run_count,
       greatest(least(created_at, '9999-12-31 23:59:59.999999Z'::timestamptz),
                '0001-01-01 00:00:00Z'::timestamptz) as created_at,
       crashes, rescues,
       greatest(least(ready_at, '9999-12-31 23:59:59.999999Z'::timestamptz),
                '0001-01-01 00:00:00Z'::timestamptz) as ready_at
  from (select) as always left join taken on true
