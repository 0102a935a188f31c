"""The supervisor's connections: heartbeat, promotion, rescue, LISTEN."""
