-- Notify of jobs that have become ready: one NOTIFY per queue and statement, and none while no
-- process is idle, because all notifying commits share one lock.
create or replace function announce() returns trigger
language plpgsql set search_path from current as $$
begin
  if (select last_value from idle_until) > extract(epoch from clock_timestamp()) * 1000 then
    perform pg_notify(tg_table_schema, count(*) || ' ' || queue_name)
       from added group by queue_name;
  end if;
  return null;
end $$;
