-- Return the seconds until a time, negative if it is past, infinite if the time is.
-- Times are not subtracted, because Postgres refuses to subtract infinite ones, which SQL may put.
create or replace function seconds_until(at timestamptz) returns float8
language sql volatile
return (extract(epoch from at) - extract(epoch from clock_timestamp()))::float8;
