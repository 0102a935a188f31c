-- Put one job and return its id. Serves triggers and other languages as well as Python.
create or replace function put(
  queue_name text, payload json, headers json default null, priority int default 0,
  delay_seconds float8 default 0
) returns bigint
language plpgsql set search_path from current as $$
declare job_id bigint;
begin
  if queue_name is null or length(queue_name) not between 1 and 200 then
    raise check_violation using message = format(
      'a queue name must have 1 to 200 characters, got %s',
      coalesce(length(queue_name)::text, 'null'));
  elsif priority is null or priority not between 0 and 9 then
    raise check_violation using message = format(
      'a priority must be from 0 (first) to 9, got %s', coalesce(priority::text, 'null'));
  elsif payload is null then
    raise check_violation using message =
      'a payload must not be SQL null; the JSON null is ''null''';
  end if;
  -- Begin before a position is drawn: the horizon of the claim cursor relies on it.
  perform pg_current_xact_id();
  if delay_seconds > 0 then
    insert into scheduled (queue_name, payload, headers, priority, run_at)
    values (queue_name, payload, headers, priority,
            clock_timestamp() + make_interval(secs => delay_seconds))
    returning id into job_id;
  else
    insert into ready (queue_name, payload, headers, priority)
    values (queue_name, payload, headers, priority)
    returning id into job_id;
  end if;
  return job_id;
end $$;
