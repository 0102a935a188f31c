-- Find up to `most` jobs of a queue and a state (null: any), lowest id first.
select id, queue_name, payload, headers, priority, state, run_count, run_at, created_at, failures,
       worker
  from jobs
 where (%(queue_name)s::text is null or queue_name = %(queue_name)s)
   and (%(state)s::text is null or state = %(state)s)
 order by id limit %(most)s
