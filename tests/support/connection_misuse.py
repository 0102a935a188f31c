"""A callback that misuses `job.connection`, in the way that its payload names."""

from psycopg.rows import dict_row

from taskmaster import Job

MISUSE = "tests.support.connection_misuse:misuse"
kept: list[object] = []  # a block that is garbage-collected would be left


def misuse(job: Job) -> None:
    match job.payload:
        case "leave a block open":
            block = job.connection.transaction()
            block.__enter__()
            kept.append(block)
        case "sleep in a query":
            job.connection.execute("select pg_sleep(60)")
        case "other rows":
            job.connection.row_factory = dict_row
