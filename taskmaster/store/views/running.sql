-- The runs that have lasted for a second or longer, with the progress that they last reported.
create or replace view running as
  select (run->>'job')::bigint as job_id, run->>'queue_name' as queue_name,
         run->>'worker' as worker, (run->>'pid')::int as pid,
         (run->>'seconds')::float8 - seconds_until(heartbeat_at) as seconds,
         (run->>'progress')::float8 as progress, run->>'note' as note
    from supervisors cross join lateral jsonb_array_elements(running) as run;
