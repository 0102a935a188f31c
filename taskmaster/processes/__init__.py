"""The running system: one folder per process, and what they share.

`supervisor` is the process that users start. `template` forks the workers. `worker` claims and runs
jobs. `exporter` serves metrics. `ipc` holds what several of them use to communicate, and `system`
what they need from Linux. This package imports the store, and the command line imports this one.
"""
