-- Move up to `most` due jobs from scheduled to ready; how many, and seconds until the next is due (null: none).
with due as materialized (
  select id from scheduled where run_at <= clock_timestamp() order by run_at limit %(most)s for update skip locked),
taken as (
  delete from scheduled where id = any(array(select id from due)) returning *),
moved as (
  insert into ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures
    from taken order by priority, run_at
  returning 1)
select (select count(*) from moved),
       extract(epoch from (select min(run_at) from scheduled where not id = any(array(select id from due))) - clock_timestamp())::float8
