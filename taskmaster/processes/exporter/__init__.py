"""The exporter process: it serves /metrics, /healthz and /readyz.

It may use threads, because it forks nothing.
"""
