-- Let Postgres replicate deletions from `ready`, which has no primary key: a publication for all
-- tables would refuse them. It costs nothing unless there is such a publication.
alter table ready replica identity full;

-- The queues that a supervisor serves. Null: it is of an older version, which does not say.
alter table supervisors add column queue_names text[];
