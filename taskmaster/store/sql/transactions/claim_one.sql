-- Lock the next job of a queue until this transaction ends. Returns no row if there is none.
select place::text as place, "position", id, queue_name, payload, headers, priority, run_count,
       created_at, crashes, rescues, ready_at
  from {schema}.claim_one(%(queue_name)s, %(priorities)s::smallint[], %(lows)s::bigint[])
