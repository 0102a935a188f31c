copy {schema}.ready (id, queue_name, priority, headers, payload) from stdin (encoding 'UTF8')
