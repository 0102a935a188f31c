"""What the processes share: scoreboard, pipes, permits, messages, and how one starts another."""
