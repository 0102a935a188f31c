"""The supervisor's workers: start, watch, stop and replace them.

A generation holds the pool and the template of one configuration.
"""
