copy {schema}.scheduled (id, queue_name, priority, run_at, headers, payload)
  from stdin (encoding 'UTF8')
