-- Count the jobs of each queue and state, with the age in seconds of the oldest.
select queue_name, state, count(*) as jobs,
       -seconds_until(min(created_at)) as oldest_seconds
  from jobs group by queue_name, state order by queue_name, state
