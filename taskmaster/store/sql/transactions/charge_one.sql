-- End the run of a job in ready as its settlement says, unless the job is gone or this run was
-- charged before. If another transaction has the job locked, this waits for it.
-- Returns how many jobs were moved, and how many there were to charge.
with mine as (
  select ctid from {schema}.ready where id = %(id)s and run_count = %(run)s - 1 for update),
taken as (
  delete from {schema}.ready where ctid = any(array(select ctid from mine))
  returning {schema}.ended_job(
    {schema}.locked_job(ready), state => %(state)s, charge => %(charge)s::int,
    crash => %(crash)s::int, rescue => 0, delay_seconds => %(delay_seconds)s,
    failure => %(failure)s::jsonb) as job)
select coalesce({schema}.move_jobs(array_agg(job)), 0) as moved,
       (select count(*) from {schema}.ready
         where id = %(id)s and run_count = %(run)s - 1) as found
  from taken
