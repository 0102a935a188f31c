-- Put one job and return its id. Serves triggers and other languages as well as Python.
-- There is one function for each type that a payload has: JSON written in the call is text, a
-- trigger has json or jsonb. Payload and headers are of the same type.
drop function if exists put(text, json, json, int, float8);

create or replace function put(
  queue_name text, payload json, headers json default null, priority bigint default 0,
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
  elsif delay_seconds > 316224000 then  -- not a number is greater than any number
    raise check_violation using message = format(
      'a delay must be from 0 to 316224000 seconds (ten years), got %s', delay_seconds);
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

create or replace function put(
  queue_name text, payload jsonb, headers jsonb default null, priority bigint default 0,
  delay_seconds float8 default 0
) returns bigint
language sql set search_path from current
return put(queue_name, payload::json, headers::json, priority, delay_seconds);

create or replace function put(
  queue_name text, payload text, headers text default null, priority bigint default 0,
  delay_seconds float8 default 0
) returns bigint
language sql set search_path from current
return put(queue_name, payload::json, headers::json, priority, delay_seconds);
