-- Undo what a callback has set, made or locked in its session, so that the next job does not
-- inherit it. The defaults of the role come back with sessions/user. Statements that psycopg has
-- prepared stay.
reset session authorization;
reset role;
reset all;
close all;
unlisten *;
discard temp;
do $$ declare prepared text; begin
  for prepared in select name from pg_prepared_statements where from_sql loop
    execute format('deallocate %I', prepared);
  end loop;
end $$;
select pg_advisory_unlock_all()
