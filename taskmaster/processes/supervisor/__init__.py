"""The supervisor process: one loop over a list of services.

`pool` holds its workers, `exits` what follows when one exits, `database` its two connections.
"""
