-- List the supervisors: how long each has been up, how long ago its last heartbeat was, and how
-- many of its batches were released before it could settle them.
select name, -seconds_until(started_at) as up_seconds,
       -seconds_until(heartbeat_at) as silent_seconds, lost_leases
  from supervisors order by started_at, id
