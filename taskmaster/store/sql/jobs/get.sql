-- Find one job, whichever state it is in, in one snapshot.
-- Returns no row if there is no such job: acked, deleted or never put.
select id, queue_name, payload, headers, priority, state, run_count, run_at, created_at, failures,
       worker
  from jobs where id = %(id)s
