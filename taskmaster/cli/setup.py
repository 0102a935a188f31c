"""Commands to get started and to stay healthy: `init`, `migrate` and `check`."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import click
import psycopg

from taskmaster.cli.common import config_option, json_option
from taskmaster.cli.output import print_json, printable
from taskmaster.config import Settings, load, load_or_default
from taskmaster.consumer import Consumer
from taskmaster.embedded import directory_of, resolve_url
from taskmaster.errors import InvalidConfig, TaskmasterError
from taskmaster.processes.ipc.spawn import handed_over, interpreter
from taskmaster.store import migrate as migrations
from taskmaster.store.connection import Connection, connect
from taskmaster.store.faults import one_line
from taskmaster.store.stats import jobs_without_supervisor

IMPORT_SECONDS = 60.0
MOST_QUEUES = 10
CONFIG = """\
# taskmaster's configuration. Start with: taskmaster run
# TASKMASTER_DATABASE_URL takes precedence. Without a URL, Postgres runs embedded in .taskmaster/
# database_url = "postgresql://…"
middleware = ["logging"]            # of every consumer, outermost first

[supervisor]
grace_seconds = 30                  # how long running jobs may continue after SIGTERM
# http = "127.0.0.1:9464"           # /metrics (of the middleware "metrics"), /healthz, /readyz

[[consumer]]
queue_name = "greetings"
callback = "jobs:greet"             # module:function
concurrency = 2                     # worker processes
max_runs = 5
"""

JOBS = '''\
"""The callbacks of taskmaster.toml. Put a job: taskmaster put greetings '{"name": "Ada"}'"""

from taskmaster import Job, Reject


def greet(job: Job) -> Reject | None:
    """Greet a person. None means done. Reject keeps the job until it is requeued or deleted."""
    if not isinstance(job.payload, dict) or "name" not in job.payload:
        return Reject("the payload has no name")
    print(f"Hello, {job.payload['name']}!", flush=True)
    return None
'''

NEXT_STEPS = (
    "next: 'taskmaster run' here, and in another terminal: "
    'taskmaster put greetings \'{"name": "Ada"}\''
)


@click.command()
def init() -> None:
    """Write a starter taskmaster.toml and jobs.py into this directory."""
    files = {Path("taskmaster.toml"): CONFIG, Path("jobs.py"): JOBS}
    for path in files:
        if path.exists():
            raise InvalidConfig(f"{path} exists already, and init overwrites nothing")
    for path, text in files.items():
        path.write_text(text)
        print(f"wrote {path}")
    print(NEXT_STEPS)


@click.command()
@json_option
@config_option
def migrate(*, as_json: bool, config: Path | None) -> None:
    """Create taskmaster's schema, or bring it to this version.

    'run' does it too, unless auto_migrate is false.
    """
    settings = load_or_default(config)
    with resolve_url(settings.url) as url, connect(url, settings.schema) as conn:
        applied = migrations.migrate(conn, settings.schema)
    version = migrations.all_migrations()[-1].version
    if as_json:
        print_json({"schema": settings.schema, "applied": applied, "version": version})
        return
    for name in applied:
        print(f"applied {name}")
    print(f"schema {settings.schema!r} is at version {version}")


# -- check


@click.command()
@json_option
@config_option
def check(*, as_json: bool, config: Path | None) -> None:
    """Check configuration, callbacks, connection and schema.

    Each line says ok, or what to do.
    """
    settings = load(config)
    checks = {
        "configuration": lambda: configuration(settings),
        "callbacks": lambda: callbacks(settings),
        "database": lambda: database(settings),
    }
    results = [run_check(what, function, as_json=as_json) for what, function in checks.items()]
    if as_json:
        print_json([result._asdict() for result in results])
    if not all(result.ok for result in results):
        raise TaskmasterError("some checks failed; see above")


class CheckResult(NamedTuple):
    """The result of one check, as `--json` prints it."""

    what: str
    ok: bool
    says: str


def run_check(what: str, function: Callable[[], str], *, as_json: bool) -> CheckResult:
    """Run one check and print its result at once, because some checks take a while."""
    try:
        result = CheckResult(what, True, function())
    except (TaskmasterError, psycopg.Error) as error:
        result = CheckResult(what, False, one_line(error))
    if not as_json:
        print(f"{'ok' if result.ok else 'failed':<7} {what}: {printable(result.says)}", flush=True)
    return result


def configuration(settings: Settings) -> str:
    """Return what the configuration holds, and a hint if metrics are set up incompletely."""
    source = settings.source.name if settings.source else ""
    return f"{len(settings.consumers)} consumer(s) in {source}{incomplete_metrics(settings)}"


def incomplete_metrics(settings: Settings) -> str:
    """Return a hint if metrics are counted and not served, or served and not counted."""
    is_counted = any(map(has_metrics, settings.consumers))
    match is_counted, settings.supervisor.http:
        case True, None:
            return (
                "; the middleware 'metrics' counts and nothing serves it: set http in [supervisor]"
            )
        case False, str(address):
            return f"; /metrics at {address} will not show runs: add the middleware 'metrics'"
    return ""


def has_metrics(consumer: Consumer) -> bool:
    """Return True if the consumer names the middleware `metrics`."""
    names = (spec["use"] if isinstance(spec, Mapping) else spec for spec in consumer.middleware)
    return "metrics" in names


def callbacks(settings: Settings) -> str:
    """Import the callbacks in a process of their own, because this one never runs user code."""
    with tempfile.TemporaryFile() as output:  # no pipe: processes that imports start hold it open
        code = run_check_process(settings, output)
        output.seek(0)
        text = output.read().decode(errors="replace").strip()
    if code:
        raise InvalidConfig(text or f"the imports ended with exit code {code}")
    return text


def run_check_process(settings: Settings, output: IO[bytes]) -> int:
    """Run it in a process group of its own, because Ctrl-C is for this command to handle.

    Return its exit code. What its imports have started is killed. Raises InvalidConfig if they take
    too long.
    """
    with handed_over(settings) as fd:
        process = interpreter("taskmaster.cli.check_process", (fd,), stdout=output, process_group=0)
    try:
        return process.wait(IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        raise InvalidConfig(f"the imports did not finish within {IMPORT_SECONDS:g} s") from None
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def database(settings: Settings) -> str:
    """Return the versions of Postgres and of the schema, and a hint about unserved queues."""
    with resolve_url(settings.url) as url, connect(url, settings.schema) as conn:
        schema, version = repr(settings.schema), migrations.version(conn)
        if version is None and migrates(settings):
            migrations.check_may_create(conn, settings.schema)
            return (
                f"schema {schema} does not exist yet: 'taskmaster run', 'put' and 'migrate' "
                "create it"
            )
        migrations.check(conn, settings.schema)
        postgres = conn.info.server_version // 10_000
        versions = f"Postgres {postgres}, schema {schema} at version {version}"
        return versions + hint_at_queues(conn, settings)


def migrates(settings: Settings) -> bool:
    """Return whether a supervisor with these settings creates the schema."""
    return settings.supervisor.auto_migrate or directory_of(settings.url) is not None


def hint_at_queues(conn: Connection, settings: Settings) -> str:
    """Return a hint if jobs wait in queues that no supervisor and no consumer here serves."""
    names = [consumer.queue_name for consumer in settings.consumers]
    found = jobs_without_supervisor(conn, most_queues=MOST_QUEUES, also_served=names)
    jobs = ", ".join(f"{name!r} ({count})" for name, count in found.items())
    return f"; jobs wait in queues that no supervisor serves: {jobs}" if jobs else ""
