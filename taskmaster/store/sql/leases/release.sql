-- Give back the jobs of a lease that were not started, uncharged; the lease and its token stay. No row back: the lease
-- was lost. Jobs that were given back already are not given back again: the answer to the first time may have been lost.
with mine as (
  select token, leases as lease from leases where token = %(token)s for update),
job as (
  select job.* from mine cross join lateral unpack(mine.lease) as job where job.id = any(%(ids)s::bigint[])),
kept as (
  update leases set released = released || array(select id from job) where token in (select token from mine)),
back as (
  insert into ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures
    from job order by id)
select true from mine
