"""The template process, which forks the workers, and the supervisor's client for it."""
