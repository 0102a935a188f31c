-- Every unfinished or kept job once, with its state.
create or replace view jobs as
  select id, queue_name, payload, headers, priority, 'ready'::text as state, run_count::int,
         null::timestamptz as run_at, created_at, coalesce(failures, '[]') as failures,
         null::text as worker
    from ready
  union all
  select id, queue_name, payload, headers, priority, 'scheduled', run_count, run_at, created_at,
         coalesce(failures, '[]'), null
    from scheduled
  union all
  select job.id, job.queue_name, job.payload, job.headers, job.priority, 'running',
         job.run_count + 1, null, job.created_at, coalesce(job.failures, '[]'), lease.worker
    from leases as lease cross join lateral unpack(lease) as job
  union all
  select id, queue_name, payload, headers, priority, 'rejected', run_count, null, created_at,
         coalesce(failures, '[]'), null
    from rejected;
