"""The running system. Knows the store; the command line knows it.

`supervisor` is the process one starts; `crew` its workers as it sees them; `ledger` its dealings with the store;
`template.py` forks the workers; `worker` is what happens inside one; `shared` is what both sides hold.
"""
