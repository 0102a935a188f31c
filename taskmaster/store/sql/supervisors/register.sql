-- Register a new supervisor under an id that it has made itself.
-- Ids do not come from the sequence of the column: a restored backup would give one out again.
insert into supervisors (id, name) overriding system value values (%(id)s, %(name)s) returning id
