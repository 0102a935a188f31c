-- Register a new supervisor. Returns its id.
insert into supervisors (name) values (%(name)s) returning id
