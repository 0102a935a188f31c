"""Worker exits in the supervisor: their cause, the policy for the batch, and its settlement."""
