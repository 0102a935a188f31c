copy {schema}.scheduled (id, queue_name, priority, headers, run_at, payload) from stdin (encoding 'UTF8')
