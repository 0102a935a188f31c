"""The exporter process: /metrics, /healthz and /readyz. Threads are allowed here, because nothing is forked."""
