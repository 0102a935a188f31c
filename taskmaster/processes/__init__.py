"""The running system: supervisor, template and workers. Knows the store; the command line knows it."""
