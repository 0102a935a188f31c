"""What the figures in the README come from: the real product on a durable server, beside the raw ceiling of its run."""
