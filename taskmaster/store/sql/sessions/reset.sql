-- After a callback had the connection: nothing that it set, made or locked for its session is the next job's. Its role's defaults
-- come back with session_lent.
reset session authorization;
reset role;
reset all;
close all;
unlisten *;
discard temp;
do $$ declare made text; begin -- by PREPARE; psycopg's own stay
  for made in select name from pg_prepared_statements where from_sql loop execute format('deallocate %I', made); end loop;
end $$;
select pg_advisory_unlock_all()
