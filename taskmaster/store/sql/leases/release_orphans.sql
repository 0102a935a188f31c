-- Give back what this supervisor's workers claimed in the moment of their death: leases of workers that no longer live.
with lost as (
  delete from leases where supervisor = %(supervisor)s and worker <> all(%(living)s::text[]) returning leases as lease),
back as (
  insert into ready (id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
  select id, queue_name, priority, run_count, crashes, rescues, created_at, payload, headers, failures
    from lost cross join lateral unpack(lost.lease) as job order by id
  returning 1)
select count(*) from back
