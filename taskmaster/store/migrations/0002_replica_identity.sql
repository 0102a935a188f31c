-- Let Postgres replicate deletions from `ready`, which has no primary key: a publication for all
-- tables would refuse them. It costs nothing unless there is such a publication.
alter table ready replica identity full;
