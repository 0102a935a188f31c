-- Promote up to `most` due jobs, but none of those in `skipped`, and only those in `only`
-- (null: any).
-- Returns how many, and seconds until the next one is due (null: there is none).
with due as materialized (
  select id from scheduled
   where run_at <= clock_timestamp() and not id = any(%(skipped)s::bigint[])
     and (%(only)s::bigint[] is null or id = any(%(only)s::bigint[]))
   order by run_at limit %(most)s for update skip locked),
taken as (
  delete from scheduled where id = any(array(select id from due))
  returning promoted_job(scheduled) as job),
numbered as (
  select job, row_number() over (order by (job).priority, (job).run_at) as number from taken),
moved as (
  select move_jobs(array_agg(job order by number)) as jobs
    from numbered group by move_chunk(number))
select coalesce(sum(jobs), 0)::bigint as jobs,
       seconds_until((
         select min(run_at) from scheduled
          where not id = any(array(select id from due)) and not id = any(%(skipped)s::bigint[])))
         as due_seconds
  from moved
