"""Getting started and staying healthy: `init`, `migrate` and `check`."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import click
import psycopg

from taskmaster.cli.common import add_to_path, config_option, json_option
from taskmaster.cli.output import print_json, printable
from taskmaster.config import Settings, load, load_or_default
from taskmaster.embedded import resolve_url
from taskmaster.errors import InvalidConfig, TaskmasterError
from taskmaster.processes.shared.spawn import hand_over, interpreter
from taskmaster.store import migrate as migrations
from taskmaster.store.connection import connect

IMPORT_SECONDS = 60.0
CONFIG = """\
# taskmaster's configuration. Start with: taskmaster run
# database_url = "postgresql://…"   # TASKMASTER_DATABASE_URL wins; neither: an embedded Postgres in .taskmaster/
middleware = ["logging"]            # every consumer, outermost first

[supervisor]
grace_seconds = 30                  # how long running jobs may go on after SIGTERM
# http = "127.0.0.1:9464"           # /metrics (of the middleware "metrics"), /healthz, /readyz

[[consumer]]
queue_name = "greetings"
callback = "jobs:greet"             # module:function
concurrency = 2                     # worker processes
max_runs = 5
"""

JOBS = '''\
"""The callbacks that taskmaster.toml names. Put a job: taskmaster put greetings '{"name": "Ada"}'"""

from taskmaster import Job, Reject


def greet(job: Job) -> Reject | None:
    """Greet somebody. None means done; Reject keeps the job until somebody requeues or deletes it."""
    if not isinstance(job.payload, dict) or "name" not in job.payload:
        return Reject("nobody to greet: the payload has no name")
    print(f"Hello, {job.payload['name']}!", flush=True)
    return None
'''


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
    print(
        "next: 'taskmaster run' here, and in another terminal: taskmaster put greetings '{\"name\": \"Ada\"}'"
    )


@click.command()
@json_option
@config_option
def migrate(*, as_json: bool, config: Path | None) -> None:
    """Create taskmaster's schema, or bring it to this version. 'run' and 'put' do it too."""
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


@click.command()
@json_option
@config_option
def check(*, as_json: bool, config: Path | None) -> None:
    """Check configuration, callbacks, connection and schema; each line says ok, or what to do."""
    settings = load(config)
    add_to_path(settings)
    examinations = {
        "configuration": lambda: configuration(settings),
        "callbacks": lambda: callbacks(settings),
        "database": lambda: database(settings),
    }
    results = [report(what, examined, as_json=as_json) for what, examined in examinations.items()]
    if as_json:
        print_json([result._asdict() for result in results])
    if not all(result.ok for result in results):
        raise TaskmasterError("something is to be mended: see above")


class CheckResult(NamedTuple):
    """How one examination ended."""

    what: str
    ok: bool
    says: str


def report(what: str, examined: Callable[[], str], *, as_json: bool) -> CheckResult:
    """Examine, and print how it ended at once: some examinations take their time."""
    try:
        result = CheckResult(what, True, examined())
    except (TaskmasterError, psycopg.Error) as error:
        result = CheckResult(what, False, " ".join(str(error).split()))
    if not as_json:
        print(f"{'ok' if result.ok else 'failed':<7} {what}: {printable(result.says)}", flush=True)
    return result


def configuration(settings: Settings) -> str:
    consumers = f"{len(settings.consumers)} consumer(s) in {settings.source.name if settings.source else ''}"
    return consumers + half_set_up(settings)


def half_set_up(settings: Settings) -> str:
    """Metrics need two settings, and the one without the other looks as if nothing ran."""
    counted = any(
        "metrics"
        in (spec.get("use") if isinstance(spec, Mapping) else spec for spec in consumer.middleware)
        for consumer in settings.consumers
    )
    match counted, settings.supervisor.http:
        case True, None:
            return (
                "; the middleware 'metrics' counts and nothing serves it: set http in [supervisor]"
            )
        case False, str(address):
            return (
                f"; /metrics at {address} will tell nothing of runs: add the middleware 'metrics'"
            )
    return ""


def callbacks(settings: Settings) -> str:
    """Import what the consumers name in a process of its own: this one never runs user code."""
    fd = hand_over(settings)
    try:
        process = interpreter("taskmaster.cli.check_process", (fd,), stdout=subprocess.PIPE)
    finally:
        os.close(fd)
    try:
        said, _ = process.communicate(timeout=IMPORT_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise InvalidConfig(f"importing them was not done within {IMPORT_SECONDS:g} s") from None
    if process.returncode:
        raise InvalidConfig(
            said.decode().strip() or f"importing them ended with exit code {process.returncode}"
        )
    return said.decode().strip()


def database(settings: Settings) -> str:
    with resolve_url(settings.url) as url, connect(url, settings.schema) as conn:
        version = migrations.version(conn)
        if version is None:
            return f"{settings.schema!r} is not there yet: 'taskmaster run', 'put' and 'migrate' make it"
        migrations.check(conn, settings.schema)
        return f"Postgres {conn.info.server_version // 10_000}, schema {settings.schema!r} at version {version}"
