"""The supervisor's services that use the database: heartbeat, promotion, rescue, LISTEN."""
