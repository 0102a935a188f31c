-- List the supervisors: how long each has been up, how long ago its last heartbeat was, how many of
-- its batches were released before it could settle them, and which queues it serves.
select name, -seconds_until(started_at) as up_seconds,
       -seconds_until(heartbeat_at) as silent_seconds, lost_leases, queue_names
  from supervisors order by started_at, id
