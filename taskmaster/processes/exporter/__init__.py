"""The process that answers /metrics, /healthz and /readyz: it asks the supervisor, the workers' files and the store."""
