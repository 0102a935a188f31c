"""What follows a worker exit: its cause, the policy for its batch, and settling it."""
