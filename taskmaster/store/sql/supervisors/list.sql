-- List the supervisors: how long each has been up, how long ago its last heartbeat was, and how
-- many of its batches were released before it could settle them.
select name, extract(epoch from clock_timestamp() - started_at)::float8 as up_seconds,
       extract(epoch from clock_timestamp() - heartbeat_at)::float8 as silent_seconds, lost_leases
  from supervisors order by id
