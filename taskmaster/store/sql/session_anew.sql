-- After a callback had the connection: nothing that it set, made or locked for its session is the next job's. Its role's defaults
-- come back with session_lent.
reset session authorization;
reset role;
reset all;
close all;
unlisten *;
discard temp;
select pg_advisory_unlock_all()
