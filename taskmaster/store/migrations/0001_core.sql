-- The core: a job's state is the table that it is in. Runs with search_path set to taskmaster's schema.

create sequence job_ids;
create sequence positions;
-- Until when somebody sleeps, in ms since the epoch. A sequence, because its value is seen at once by all, and no row dies of it.
create sequence idle_until minvalue 0 start 0;

-- Runnable jobs. Rows are inserted and deleted, never updated: a ctid found stays good until the row is deleted.
create table ready (
  id          bigint      not null default nextval('job_ids'),
  queue_name  text        not null check (length(queue_name) between 1 and 200),
  priority    smallint    not null default 0 check (priority between 0 and 9),
  position    bigint      not null default nextval('positions'),
  run_count   smallint    not null default 0,
  crashes     smallint    not null default 0,
  rescues     smallint    not null default 0,
  created_at  timestamptz not null default now(),
  payload     json        not null,
  headers     json,
  failures    jsonb
);
create index ready_order on ready (queue_name, priority, position);
-- Finding one job by id among a million costs a few blocks; a btree would cost every put a third of its speed.
create index ready_id on ready using brin (id) with (pages_per_range = 16, autosummarize = on);

-- Waiting for run_at: delayed puts, retries, snoozes.
create table scheduled (
  id          bigint      primary key default nextval('job_ids'),
  queue_name  text        not null check (length(queue_name) between 1 and 200),
  priority    smallint    not null default 0 check (priority between 0 and 9),
  run_at      timestamptz not null,
  run_count   smallint    not null default 0,
  crashes     smallint    not null default 0,
  rescues     smallint    not null default 0,
  created_at  timestamptz not null default now(),
  payload     json        not null,
  headers     json,
  failures    jsonb
);
create index scheduled_due on scheduled (run_at);
create index scheduled_queue on scheduled (queue_name);

-- Ended badly; kept with the history of their failures until requeued or deleted.
create table rejected (
  id          bigint      primary key,
  queue_name  text        not null,
  priority    smallint    not null,
  run_count   smallint    not null,
  crashes     smallint    not null,
  rescues     smallint    not null,
  created_at  timestamptz not null,
  rejected_at timestamptz not null default clock_timestamp(),
  payload     json        not null,
  headers     json,
  failures    jsonb
);
create index rejected_queue on rejected (queue_name, id);

create table supervisors (
  id           bigint      generated always as identity primary key,
  name         text        not null,
  started_at   timestamptz not null default clock_timestamp(),
  heartbeat_at timestamptz not null default clock_timestamp()
);

-- One row per claimed batch. Arrays per column rather than an array of ready's row type, which would forbid
-- `alter table ready add column … not null` for ever.
create table leases (
  token       uuid        primary key default gen_random_uuid(),
  supervisor  bigint      not null,
  worker      text        not null,
  queue_name  text        not null,
  claimed_at  timestamptz not null default clock_timestamp(),
  ids         bigint[]      not null,
  priorities  smallint[]    not null,
  run_counts  smallint[]    not null,
  crash_counts  smallint[]  not null,
  rescue_counts smallint[]  not null,
  created_ats timestamptz[] not null,
  payloads    json[]        not null,
  headers     json[],
  failures    jsonb[],
  given_back  bigint[]    not null default '{}',  -- jobs that are in ready again, no longer of this lease
  started     bigint[]    not null default '{}'   -- jobs rescued before, noted before they run
);
create index leases_supervisor on leases (supervisor);
-- A lease lives for milliseconds: compressing it costs more than writing it.
alter table leases alter ids set storage external, alter priorities set storage external,
  alter run_counts set storage external, alter crash_counts set storage external, alter rescue_counts set storage external,
  alter created_ats set storage external, alter payloads set storage external;

-- The jobs that a lease still holds. Inlined by the planner: it must stay a plain select without a SET clause.
create function unpack(lease leases) returns table (
  id bigint, queue_name text, priority smallint, run_count smallint, crashes smallint, rescues smallint,
  created_at timestamptz, payload json, headers json, failures jsonb
) language sql immutable as $$
  select job.id, (lease).queue_name, job.priority, job.run_count, job.crashes, job.rescues,
         job.created_at, job.payload, job.headers, job.failures
    from unnest((lease).ids, (lease).priorities, (lease).run_counts, (lease).crash_counts, (lease).rescue_counts,
                (lease).created_ats, (lease).payloads, (lease).headers, (lease).failures)
      as job (id, priority, run_count, crashes, rescues, created_at, payload, headers, failures)
   where not job.id = any((lease).given_back)
$$;

-- Every job once.
create view jobs as
  select id, queue_name, payload, headers, priority, 'ready'::text as state, run_count::int, null::timestamptz as run_at,
         created_at, coalesce(failures, '[]') as failures, null::text as worker
    from ready
  union all
  select id, queue_name, payload, headers, priority, 'scheduled', run_count, run_at, created_at, coalesce(failures, '[]'), null
    from scheduled
  union all
  select job.id, job.queue_name, job.payload, job.headers, job.priority, 'running', job.run_count + 1, null, job.created_at,
         coalesce(job.failures, '[]'), lease.worker
    from leases as lease cross join lateral unpack(lease) as job
  union all
  select id, queue_name, payload, headers, priority, 'rejected', run_count, null, created_at, coalesce(failures, '[]'), null
    from rejected;

-- A hint for sleepers: one NOTIFY per queue and statement, and none while nobody sleeps, for a notifying commit takes a lock
-- that all of them share.
create function announce() returns trigger language plpgsql set search_path from current as $$
begin
  if (select last_value from idle_until) > extract(epoch from clock_timestamp()) * 1000 then
    perform pg_notify(tg_table_schema, count(*) || ' ' || queue_name) from added group by queue_name;
  end if;
  return null;
end $$;
create trigger announce after insert on ready
  referencing new table as added for each statement execute function announce();

-- A job due sooner than the next look at the schedule: tell the supervisors, so that their timer is set in time.
create function announce_due() returns trigger language plpgsql set search_path from current as $$
begin
  if (select last_value from idle_until) > extract(epoch from clock_timestamp()) * 1000
     and exists (select from added where run_at < clock_timestamp() + interval '3 seconds') then
    perform pg_notify(tg_table_schema, 'due');
  end if;
  return null;
end $$;
create trigger announce_due after insert on scheduled
  referencing new table as added for each statement execute function announce_due();

-- Put one job; its id. For triggers and other languages as for Python.
create function put(queue_name text, payload json, headers json default null, priority int default 0,
                    delay_seconds float8 default 0) returns bigint
language plpgsql set search_path from current as $$
declare job_id bigint;
begin
  if queue_name is null or length(queue_name) not between 1 and 200 then
    raise check_violation using message = format('a queue name must have 1 to 200 characters, got %s', coalesce(length(queue_name)::text, 'null'));
  elsif priority is null or priority not between 0 and 9 then
    raise check_violation using message = format('a priority must be from 0 (first) to 9, got %s', coalesce(priority::text, 'null'));
  elsif payload is null then
    raise check_violation using message = 'a payload must not be SQL null; the JSON null is ''null''';
  end if;
  if delay_seconds > 0 then
    insert into scheduled (queue_name, payload, headers, priority, run_at)
    values (queue_name, payload, headers, priority, clock_timestamp() + make_interval(secs => delay_seconds))
    returning id into job_id;
  else
    insert into ready (queue_name, payload, headers, priority)
    values (queue_name, payload, headers, priority)
    returning id into job_id;
  end if;
  return job_id;
end $$;

-- Put a rejected job back, its counts at 0. False: no rejected job has this id.
create function requeue(job_id bigint) returns boolean
language plpgsql set search_path from current as $$
begin
  with taken as (delete from rejected where id = job_id returning *)
  insert into ready (id, queue_name, priority, created_at, payload, headers, failures)
  select id, queue_name, priority, created_at, payload, headers, failures from taken;
  return found;
end $$;
