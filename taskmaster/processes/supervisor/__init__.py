"""The process that is started: its loop, its signals, and how others start and stop it."""
