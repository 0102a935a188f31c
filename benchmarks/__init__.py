"""Measurements of the real product on a durable server, next to the raw ceiling of the same run."""
