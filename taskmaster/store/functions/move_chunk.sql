-- Return the chunk in which the job with this row number is moved. An array of jobs must stay far below 1 GB, and 200 is the
-- fastest size: 100,000 small jobs take 0.4 s in chunks of 100 to 500, and large payloads take twice as long in chunks of 1,000.
create or replace function move_chunk(number bigint) returns bigint language sql immutable return number / 200;
