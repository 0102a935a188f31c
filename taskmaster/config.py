"""Read `taskmaster.toml`, or `[tool.taskmaster]` in pyproject.toml, and the environment.

The result is frozen values. Every mistake is one sentence that names the file, the key and what is
allowed. Nothing is imported or connected here: callbacks and middlewares stay names, which
`imports` and `plugins` resolve in the template process.
"""

import difflib
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from taskmaster.consumer import Consumer
from taskmaster.embedded import beside
from taskmaster.environment import schema_from_environment, trimmed, url_from_environment
from taskmaster.errors import InvalidConfig, InvalidJob
from taskmaster.options import SupervisorOptions
from taskmaster.validation import (
    MAX_PAYLOAD_BYTES,
    check_queue_name,
    check_schema,
    check_whole_number,
    display,
)

FILE = Path("taskmaster.toml")
PYPROJECT = Path("pyproject.toml")
LARGEST_PAYLOAD_BYTES = 100_000_000
TOP_LEVEL = ("database_url", "schema", "max_payload_bytes", "middleware", "supervisor", "consumer")

Table = Mapping[str, Any]
Specs = Sequence[Table]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The configuration of one project.

    If `database_url` is None, the embedded server is used. If `source` is None, no file was found.
    """

    database_url: str | None = field(default=None, repr=False)
    schema: str = "taskmaster"
    max_payload_bytes: int = MAX_PAYLOAD_BYTES
    supervisor: SupervisorOptions = field(default_factory=SupervisorOptions)
    consumers: tuple[Consumer, ...] = ()
    source: Path | None = None

    @property
    def home(self) -> Path:
        """Return the directory of the configuration, or the current one if there is no file."""
        return Path.cwd() if self.source is None else self.source.parent

    @property
    def url(self) -> str:
        """Return the configured database URL, or that of the embedded server in `home`."""
        return self.database_url or beside(self.home)


def load(path: Path | None = None) -> Settings:
    """Return the settings from `path`, or from the file in the current directory.

    TASKMASTER_DATABASE_URL and TASKMASTER_SCHEMA take precedence over the file. Raises
    InvalidConfig, also if there is no file or no consumer in it.
    """
    settings = load_or_default(path)
    if settings.source is None:
        raise InvalidConfig(
            f"no {FILE} in the current directory ({Path.cwd().name}/), nor [tool.taskmaster] in "
            f"{PYPROJECT}; run 'taskmaster init' to write one"
        )
    if not settings.consumers:
        raise InvalidConfig(
            f"{settings.source.name}: no [[consumer]] table; add one with queue_name and callback"
        )
    return settings


def load_or_default(path: Path | None = None) -> Settings:
    """Return the settings like `load`, for commands that need no consumers.

    Without a path and without a file in the current directory, return the defaults.
    """
    found = _find() if path is None else path
    settings = Settings() if found is None else _read(found)
    return _with_environment(settings)


def hint(word: str, choices: Iterable[str]) -> str:
    """Return ` (did you mean 'x'?)` if a choice is close to `word`, else an empty string."""
    close = difflib.get_close_matches(word, list(choices), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


# -- files and environment


def _find() -> Path | None:
    if FILE.exists():
        return FILE
    return (
        PYPROJECT
        if PYPROJECT.exists() and "taskmaster" in _tools(_parse(PYPROJECT, shown=PYPROJECT))
        else None
    )


def _read(path: Path) -> Settings:
    """Read a file. Its directory is resolved once: a link in it may lead elsewhere a moment later.

    Modules and other files are then looked for in the directory that this file was read from.
    """
    source = path.parent.resolve() / path.name
    content = _parse(source, shown=path)
    where = str(path)
    if path.name == PYPROJECT.name:
        where = f"{path} [tool.taskmaster]"
        if "taskmaster" not in _tools(content):
            raise InvalidConfig(f"{where}: there is no such table")
        content = _tools(content)["taskmaster"]
    with _prefix_errors(where):
        return replace(_settings(_table(content)), source=source)


def _parse(path: Path, *, shown: Path) -> Table:
    """Return what a file holds. `shown` is its path in messages."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise InvalidConfig(
            f"{shown}: there is no such file; run 'taskmaster init' to write {FILE}"
        ) from None
    except OSError as error:
        raise InvalidConfig(f"{shown}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise InvalidConfig(f"{shown}: must be UTF-8, byte {error.start} is not") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfig(f"{shown}: not TOML: {error}") from None


def _tools(pyproject: Table) -> Table:
    tools = pyproject.get("tool")
    return tools if isinstance(tools, dict) else {}


def _with_environment(settings: Settings) -> Settings:
    return replace(
        settings,
        database_url=url_from_environment() or settings.database_url,
        schema=schema_from_environment() or settings.schema,
    )


# -- the top level


def _settings(content: Table) -> Settings:
    options = _middleware_options(content)
    _refuse_unknown(content.keys() - options.keys(), TOP_LEVEL)
    shared = _middlewares(content, options)
    consumers = _consumers(content.get("consumer", []), shared, options)
    _refuse_unused(options, shared, consumers)
    return Settings(
        database_url=_database_url(content.get("database_url")),
        schema=check_schema(content.get("schema", Settings().schema)),
        max_payload_bytes=_max_payload_bytes(content.get("max_payload_bytes", MAX_PAYLOAD_BYTES)),
        supervisor=_supervisor(content.get("supervisor", {})),
        consumers=consumers,
    )


def _middleware_options(content: Table) -> Table:
    """Return the tables that are named after middlewares, with the options for each use."""
    return {
        key: value
        for key, value in content.items()
        if key not in TOP_LEVEL and isinstance(value, dict)
    }


def _database_url(value: object) -> str | None:
    if value is None or (isinstance(value, str) and trimmed(value)):
        return value and trimmed(value)
    # The value is not shown, because a mistyped one may still hold a password.
    kind = "an empty one" if isinstance(value, str) else type(value).__name__
    raise InvalidConfig(
        f'database_url must be a string like "postgresql://user@host/database", got {kind}'
    )


def _max_payload_bytes(value: object) -> int:
    return check_whole_number("max_payload_bytes", value, 1, LARGEST_PAYLOAD_BYTES)


def _supervisor(value: object) -> SupervisorOptions:
    with _prefix_errors("supervisor"):
        table = _table(value)
        _refuse_unknown(table, [option.name for option in fields(SupervisorOptions)])
        return SupervisorOptions(**table)


# -- consumers


def _consumers(tables: object, shared: Specs, options: Table) -> tuple[Consumer, ...]:
    if not isinstance(tables, list):
        raise InvalidConfig("consumer must be a list of tables, each headed [[consumer]]")
    numbers: dict[str, int] = {}
    consumers = []
    for number, table in enumerate(tables, start=1):
        consumer = _consumer(table, number, shared, options)
        if earlier := numbers.get(consumer.queue_name):
            raise InvalidConfig(
                f"consumer #{number}: queue {consumer.queue_name!r} has consumer #{earlier} "
                "already; one queue takes one consumer: raise its concurrency instead"
            )
        numbers[consumer.queue_name] = number
        consumers.append(consumer)
    return tuple(consumers)


def _consumer(value: object, number: int, shared: Specs, options: Table) -> Consumer:
    with _prefix_errors(_consumer_label(value, number)):
        table = _table(value)
        _refuse_unknown(table, [key.name for key in fields(Consumer)])
        for key in fields(Consumer):
            if key.default is MISSING and key.name not in table:
                raise InvalidConfig(f"{key.name} is missing")
        if not isinstance(component := table.get("component", ""), str):
            raise InvalidConfig(f'component must be "module:name", got {display(component)}')
        return Consumer(**{**table, "middleware": (*shared, *_middlewares(table, options))})


def _consumer_label(table: object, number: int) -> str:
    """Return the consumer's name in messages: by its queue, or by its place if that is invalid."""
    try:
        return f"consumer {check_queue_name(_table(table).get('queue_name'))!r}"
    except (InvalidConfig, InvalidJob):
        return f"consumer #{number}"


def _middlewares(table: Table, options: Table) -> Specs:
    """Return the table's list of middlewares, each as {"use": name, …} with its options.

    Options in the list take precedence over those in the table that is named after the middleware.
    """
    items = table.get("middleware", [])
    if not isinstance(items, list):
        raise InvalidConfig(f"middleware must be a list, outermost first, got {display(items)}")
    specs = [_middleware(item, number) for number, item in enumerate(items, start=1)]
    return [{**options.get(spec["use"], {}), **spec} for spec in specs]


def _middleware(item: object, number: int) -> Table:
    spec = {"use": item} if isinstance(item, str) else item
    if not isinstance(spec, dict) or not isinstance(spec.get("use"), str) or not spec["use"]:
        raise InvalidConfig(
            f'middleware #{number} must be a name or a table {{ use = "name", … }}, '
            f"got {display(item)}"
        )
    return spec


# -- refusals


def _table(value: object) -> Table:
    if not isinstance(value, dict):
        raise InvalidConfig(f"must be a table, got {display(value)}")
    return value


def _refuse_unknown(keys: Iterable[str], allowed: Sequence[str]) -> None:
    for key in sorted(set(keys) - set(allowed)):
        raise InvalidConfig(
            f"unknown key {display(key)}{hint(key, allowed)}; allowed are {', '.join(allowed)}"
        )


def _refuse_unused(options: Table, shared: Specs, consumers: Iterable[Consumer]) -> None:
    """Raise InvalidConfig if a table holds options of a middleware that no list uses."""
    own = [spec for consumer in consumers for spec in consumer.middleware]
    used = sorted({spec["use"] for spec in (*shared, *own) if isinstance(spec, Mapping)})
    for key in sorted(options.keys() - set(used)):
        shown = display(key).strip("'")
        raise InvalidConfig(
            f"unknown table [{shown}]{hint(key, [*TOP_LEVEL, *used])}; allowed are [supervisor], "
            "[[consumer]] and one for each middleware that a list uses: "
            f"{', '.join(used) or 'none does'}"
        )


@contextmanager
def _prefix_errors(place: str) -> Iterator[None]:
    """Begin the sentence of every InvalidConfig that is raised inside with `place`."""
    try:
        yield
    except InvalidConfig as error:
        raise InvalidConfig(f"{place}: {error}") from None
