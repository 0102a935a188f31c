"""The template process, from which workers are forked, and the supervisor's client for it."""
