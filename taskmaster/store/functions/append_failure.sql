-- Return the history of a job with one more failure (null: none), the latest 20 of them.
create or replace function append_failure(failures jsonb, failure jsonb) returns jsonb
language sql immutable
return case
  when failure is null then failures
  else jsonb_path_query_array(coalesce(failures, '[]'), '$[last - 18 to last]') || failure
end;
