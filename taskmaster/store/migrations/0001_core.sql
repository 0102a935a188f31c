-- Create the core tables: a job's state is the table that holds it.
-- Runs with search_path set to taskmaster's schema. Functions and views are in ../functions and
-- ../views.

create sequence job_ids;
create sequence positions;
-- Until when a process is idle and wants notifications, in ms since the epoch. It is a sequence
-- because every session sees the new value at once and an update leaves no dead row.
create sequence idle_until minvalue 0 start 0;

-- Jobs that can run. Rows are inserted and deleted, never updated, so a ctid stays valid until its
-- row is deleted.
create table ready (
  id          bigint      not null default nextval('job_ids'),
  queue_name  text        not null check (length(queue_name) between 1 and 200),
  priority    smallint    not null default 0 check (priority between 0 and 9),
  position    bigint      not null default nextval('positions'),
  run_count   smallint    not null default 0,
  crashes     smallint    not null default 0,
  rescues     smallint    not null default 0,
  created_at  timestamptz not null default now(),
  -- Since when the job can run: the time of its delay does not count.
  ready_at    timestamptz not null default clock_timestamp(),
  payload     json        not null,
  headers     json,
  failures    jsonb
);
create index ready_order on ready (queue_name, priority, position);
-- Finding one job by id among a million reads a few blocks. A btree would cost every put a third of
-- its speed.
create index ready_id on ready using brin (id) with (pages_per_range = 16, autosummarize = on);

-- Jobs that wait for run_at: delayed puts, retries, snoozes.
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

-- Jobs that ended badly, kept with the history of their failures until they are requeued or
-- deleted.
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
  heartbeat_at timestamptz not null default clock_timestamp(),
  lost_leases  bigint      not null default 0,
  -- The runs that have lasted for a while, as JSON: job, queue_name, worker, pid, seconds,
  -- progress, note.
  running      jsonb       not null default '[]'
);

-- One row per claimed batch. Arrays per column, because an array of ready's row type would make
-- Postgres refuse every later `alter table ready add column … not null`.
create table leases (
  token         uuid          primary key default gen_random_uuid(),
  supervisor    bigint        not null,
  worker        text          not null,
  queue_name    text          not null,
  claimed_at    timestamptz   not null default clock_timestamp(),
  -- Its jobs must never run twice: a rescue rejects them.
  once          boolean       not null default false,
  ids           bigint[]      not null,
  priorities    smallint[]    not null,
  positions     bigint[]      not null,
  run_counts    smallint[]    not null,
  crash_counts  smallint[]    not null,
  rescue_counts smallint[]    not null,
  created_ats   timestamptz[] not null,
  payloads      json[]        not null,
  headers       json[],
  failures      jsonb[],
  -- Jobs that are in ready again and no longer belong to this lease.
  released      bigint[]      not null default '{}',
  -- Jobs that were rescued before, each noted before it runs.
  started       bigint[]      not null default '{}'
);
create index leases_supervisor on leases (supervisor);
-- A lease lives for milliseconds, and compressing it costs more than writing it.
alter table leases
  alter ids set storage external, alter priorities set storage external,
  alter positions set storage external, alter run_counts set storage external,
  alter crash_counts set storage external, alter rescue_counts set storage external,
  alter created_ats set storage external, alter payloads set storage external;

-- A job on its way from one table to another. A type of its own, so that the tables can change
-- independently of it. `position` null: the job gets a new place, behind the others. `run_at`
-- counts for the state scheduled only.
create type moved_job as (
  id          bigint,
  queue_name  text,
  priority    smallint,
  position    bigint,
  run_count   smallint,
  crashes     smallint,
  rescues     smallint,
  created_at  timestamptz,
  payload     json,
  headers     json,
  failures    jsonb,
  state       text,
  run_at      timestamptz
);

-- The triggers call functions whose bodies are in ../functions. They are created here, once,
-- because to create a trigger waits for every open transaction that has put a job.
create function announce() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger announce after insert on ready
  referencing new table as added for each statement execute function announce();
create function announce_due() returns trigger language plpgsql as $$ begin return null; end $$;
create trigger announce_due after insert on scheduled
  referencing new table as added for each statement execute function announce_due();
