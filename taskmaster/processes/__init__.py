"""The running system: one folder per process, and what they share.

`supervisor` is the process that users start. `template` forks the workers. `worker` claims and runs
jobs. `exporter` serves metrics. `ipc` is what they share, `system` what they need of Linux. They
know the store; the command line knows them.
"""
