"""Callbacks that treat the connection they are lent badly: "tests.support.connection_misuse:act"."""

from psycopg.rows import dict_row

from taskmaster import Job

ACT = "tests.support.connection_misuse:act"
kept: list[object] = []  # what would leave its block when it is collected


def act(job: Job) -> None:
    match job.payload:
        case "leave a block open":
            block = job.connection.transaction()
            block.__enter__()
            kept.append(block)
        case "sleep in a query":
            job.connection.execute("select pg_sleep(60)")
        case "other rows":
            job.connection.row_factory = dict_row
