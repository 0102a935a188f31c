-- Jobs and age in seconds of the oldest, by queue and state.
select queue_name, state, count(*), extract(epoch from clock_timestamp() - min(created_at))::float8
  from jobs group by queue_name, state order by queue_name, state
