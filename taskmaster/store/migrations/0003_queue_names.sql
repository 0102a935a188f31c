-- The queues that a supervisor serves, as its last heartbeat says. Null: an older version, which
-- does not say it.
alter table supervisors add column queue_names text[];
