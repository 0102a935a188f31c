-- Send a notification on the schema's channel. The commit need not be durable.
select pg_notify(%(schema)s, %(payload)s),
       set_config('synchronous_commit', 'off', true) as synchronous_commit
