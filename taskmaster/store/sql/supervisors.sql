-- The supervisors and how long ago each was heard of, in seconds.
select name, extract(epoch from clock_timestamp() - started_at)::float8, extract(epoch from clock_timestamp() - heartbeat_at)::float8
  from supervisors order by id
