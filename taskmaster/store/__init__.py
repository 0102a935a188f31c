"""The only place that knows SQL: connections, migrations, and one function per statement."""
