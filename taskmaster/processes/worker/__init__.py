"""The worker process: claim, run, settle, according to the delivery of its consumer."""
