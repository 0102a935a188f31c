-- What has been running for a second or longer, or says how far it is; of one job, or (null) of all.
select job_id, queue_name, worker, pid, seconds, progress, note from running
 where %(id)s::bigint is null or job_id = %(id)s order by seconds desc limit %(most)s
