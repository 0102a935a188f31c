-- List the runs that have lasted for a second or longer, or report progress, of one job or of all
-- (null).
select job_id, queue_name, worker, pid, seconds, progress, note from running
 where %(id)s::bigint is null or job_id = %(id)s order by seconds desc limit %(most)s
