"""The only place that knows SQL: connections, migrations, and one function per statement.

Each module has one subject, and its statements are in the folder of `sql/` with its name.
`functions/` and `views/` hold what the statements call, and `migrations/` the tables. Every process
uses the store.
"""
