"""User code sets up logging: taskmaster's own lines do not fall silent."""

from pathlib import Path

import pytest

from taskmaster import Publisher
from tests.support import Gates, Journal, eventually
from tests.support.project import project

CHANGES = {
    "dictConfig": "logging.config.dictConfig({'version': 1})",
    "fileConfig": "logging.config.fileConfig(io.StringIO(FILE))",
    "force": "logging.basicConfig(force=True, format='mine %(message)s')",
    "disabled": "[setattr(logging.getLogger(n), 'disabled', True) for n in list(LOGGERS)]",
}
MODULE = '''
import io, logging, logging.config
LOGGERS = logging.Logger.manager.loggerDict
FILE = """
[loggers]
keys = root
[handlers]
keys = own
[formatters]
keys =
[logger_root]
handlers = own
[handler_own]
class = StreamHandler
args = ()
"""
where = {where!r}

def change():
    {change}

if where == "import":
    change()

@contextmanager
def component():
    if where == "component":
        change()
    yield

def act(job):
    if where == "job" and job.payload:
        change()
'''


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("where", ["import", "component", "job"])
def test_own_lines_are_written_after_the_user_sets_up_logging(
    tmp_path: Path,
    database_url: str,
    journal: Journal,
    gates: Gates,
    publisher: Publisher,
    where: str,
    change: str,
) -> None:
    with project(tmp_path / "project", database_url, journal, gates) as here:
        here.write_version("old", MODULE.format(where=where, change=CHANGES[change]))
        here.configure({"component": "jobs:component"}, top='middleware = ["logging"]')
        here.start()
        publisher.put("q", True)
        eventually(lambda: line_of_last_job_is_written(here.output(), publisher))
        assert here.stop() == 0


def line_of_last_job_is_written(output: str, publisher: Publisher) -> bool:
    """Put another job, and return whether the line of an earlier one has been written."""
    job_id = publisher.put("q")
    return f"job={job_id - 1} " in output


def test_reason_of_a_failed_boot_is_logged_after_dictconfig(
    tmp_path: Path, database_url: str, journal: Journal, gates: Gates
) -> None:
    with project(tmp_path / "project", database_url, journal, gates) as here:
        text = MODULE.format(where="component", change=CHANGES["dictConfig"] + "; 1 / 0")
        here.write_version("old", text)
        here.configure({"component": "jobs:component"}, boot_attempts=1)
        here.start(ready=False)
        assert here.wait_for_exit() == 1
        assert "worker failed to boot" in here.output()
        assert "ZeroDivisionError" in here.output()
