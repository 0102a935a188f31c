"""What the processes need of Linux: non-blocking logs, orphans, /proc, limits, standard streams."""
