"""The command `taskmaster put`: one job from the command line, or many from stdin."""

import json
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import click
from rich.console import Console
from rich.progress import Progress

from taskmaster.cli.common import config_option, json_option
from taskmaster.cli.output import print_json
from taskmaster.config import Settings, hint, load_or_default
from taskmaster.errors import InvalidPayload
from taskmaster.import_path import use_directory
from taskmaster.publisher import Publisher


@click.command()
@click.argument("queue")
@click.argument("payload", default="null", metavar="[JSON]")
@click.option("--priority", type=int, default=0, show_default=True, help="0 (first) to 9.")
@click.option("--delay", type=float, default=0.0, help="Seconds before it may run.")
@click.option("--headers", help="A JSON object.")
@json_option
@config_option
def put(
    queue: str,
    payload: str,
    *,
    priority: int,
    delay: float,
    headers: str | None,
    as_json: bool,
    config: Path | None,
) -> None:
    """Put a job into QUEUE and print its id.

    With - for JSON, put one job per line of stdin, all of them or none.
    """
    settings = load_or_default(config)
    use_directory(settings.home)
    options = {"priority": priority, "delay": delay, "headers": headers_object(headers)}
    with publisher_of(settings) as publisher:
        ids = put_payloads(publisher, queue, payload, options)
    note_missing_consumer(settings, queue)
    if as_json:
        print_json({"queue_name": queue, "ids": ids})
    elif payload == "-":
        print(f"put {len(ids)} job{'' if len(ids) == 1 else 's'} into {queue!r}")
    else:
        print(ids[0])


def publisher_of(settings: Settings) -> Publisher:
    """Return the publisher that the settings describe."""
    return Publisher(
        settings.url,
        schema=settings.schema,
        max_payload_bytes=settings.max_payload_bytes,
        consumers=settings.consumers,
    )


def note_missing_consumer(settings: Settings, queue: str) -> None:
    """Print a note on stderr if the configuration has consumers and none is for this queue.

    The name may be mistyped, or the queue may be run by another project.
    """
    names = [consumer.queue_name for consumer in settings.consumers]
    if settings.source is not None and names and queue not in names:
        similar = hint(queue, names)
        print(
            f"note: no consumer in {settings.source.name} is for queue {queue!r}{similar}",
            file=sys.stderr,
        )


def put_payloads(
    publisher: Publisher, queue: str, payload: str, options: dict[str, Any]
) -> list[int]:
    """Put the payload, or for "-" the lines of stdin, and return the ids."""
    if payload != "-":
        return [publisher.put(queue, decode(payload, "the payload"), **options)]
    lines = StdinLines(sys.stdin.buffer)
    with lines.name_line():
        return publisher.put_many(queue, lines, **options)


def decode(text: str | bytes, what: str) -> Any:
    """Return the value of JSON text. Raises InvalidPayload, beginning with `what`."""
    # Not orjson, which reads an integer of more than 64 bits as a float: it would be rounded.
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_parse_float)
    except (ValueError, RecursionError) as error:
        raise InvalidPayload(f"{what} is not JSON: {error}") from None


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _parse_float(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text} is too large for a float")
    return number


def headers_object(headers: str | None) -> dict[str, Any] | None:
    """Return the headers of the option `--headers`."""
    found = None if headers is None else decode(headers, "--headers")
    if found is not None and not isinstance(found, dict):
        raise click.UsageError("--headers must be a JSON object")
    return found


class StdinLines:
    """Iterate over the JSON values of a file's lines, and show progress on a terminal.

    Blank lines are skipped.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 0
        self._index = -1

    def __iter__(self) -> Iterator[Any]:
        with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
            task = progress.add_task("put", total=None)
            for number, line in enumerate(self._file, start=1):
                self._number = number
                if line.strip():
                    self._index += 1
                    yield decode(line, "it")
                if number % 1000 == 0:
                    progress.update(task, completed=number, description=f"put {number:,} jobs")

    @contextmanager
    def name_line(self) -> Iterator[None]:
        """Name the line in the message about a refused payload.

        It is the current line, because lines are read one by one, as they are sent.
        """
        try:
            yield
        except InvalidPayload as error:
            # The number of the line replaces that of the payload.
            message = str(error).replace(f"the payload {self._index} ", "the payload ", 1)
            raise InvalidPayload(
                f"line {self._number} of stdin: {message}; nothing was put"
            ) from None
