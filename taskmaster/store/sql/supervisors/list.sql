-- The supervisors, how long ago each was heard of, in seconds, and how many batches were taken over before it could end them.
select name, extract(epoch from clock_timestamp() - started_at)::float8, extract(epoch from clock_timestamp() - heartbeat_at)::float8,
       lost_leases
  from supervisors order by id
