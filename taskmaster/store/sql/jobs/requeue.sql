-- Requeue rejected jobs. Returns the ids of those that were rejected.
with found as materialized (
  select id from rejected where id = any(%(ids)s::bigint[]) order by id for update),
taken as (
  delete from rejected where id = any(array(select id from found))
  returning requeued_job(rejected) as job),
numbered as (
  select job, row_number() over (order by (job).id) as number from taken),
chunks as (
  select move_jobs(array_agg(job order by number)) as jobs
    from numbered group by move_chunk(number)),
moved as materialized (
  select sum(jobs) as jobs from chunks)
select (job).id as id from taken cross join moved order by id
