-- The next job of a queue, locked until this transaction ends. No row back: nothing was found.
select * from {schema}.claim_one(%(queue_name)s, %(priorities)s::smallint[], %(lows)s::bigint[])
