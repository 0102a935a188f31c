-- Notify the supervisors of a job that is due before they next read the schedule, so that they set
-- their timer in time.
create or replace function announce_due() returns trigger
language plpgsql set search_path from current as $$
begin
  if (select last_value from idle_until) > extract(epoch from clock_timestamp()) * 1000
     and exists (
       select from added where run_at < clock_timestamp() + interval '3 seconds') then
    perform pg_notify(tg_table_schema, 'due');
  end if;
  return null;
end $$;
