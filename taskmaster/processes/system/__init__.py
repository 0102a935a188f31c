"""Linux for the processes: logs that never block, orphans, /proc, limits, standard streams."""
