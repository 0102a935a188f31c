-- Requeue all rejected jobs of a queue. Returns how many.
with found as materialized (
  select id from rejected where queue_name = %(queue_name)s order by id for update),
taken as (
  delete from rejected where id = any(array(select id from found))
  returning requeued_job(rejected) as job),
numbered as (
  select job, row_number() over (order by (job).id) as number from taken),
moved as (
  select move_jobs(array_agg(job order by number)) as jobs
    from numbered group by move_chunk(number))
select coalesce(sum(jobs), 0)::bigint as jobs from moved
