-- Read the counts of the jobs that a lease still holds.
select job.id, job.run_count, job.crashes
  from leases as lease cross join lateral unpack(lease) as job where token = %(token)s
