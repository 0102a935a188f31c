"""The command `taskmaster`: one file per group of commands."""
