"""The supervisor and the store: heartbeats, promotion, rescue, dead workers' batches, LISTEN."""
