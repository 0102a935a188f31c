-- A new supervisor; its id.
insert into supervisors (name) values (%(name)s) returning id
