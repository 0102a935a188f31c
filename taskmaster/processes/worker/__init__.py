"""Inside a worker: claim, run, settle, by the delivery that its consumer asks for."""
