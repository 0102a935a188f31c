"""The supervisor process: its loop and services, its workers (pool), their exits, and its connections."""
