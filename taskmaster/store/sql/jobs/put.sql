-- Put one job. Returns its id.
select {schema}.put(
         %(queue_name)s, %(payload)s::json, %(headers)s::json, %(priority)s::int,
         %(delay_seconds)s::float8) as id
