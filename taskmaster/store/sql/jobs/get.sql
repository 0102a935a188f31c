-- One job wherever it is, in one snapshot. No row back: there is no such job (acked, deleted, or never put).
select id, queue_name, payload, headers, priority, state, run_count, run_at, created_at, failures, worker from jobs where id = %(id)s
