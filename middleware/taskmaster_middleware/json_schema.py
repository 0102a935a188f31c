"""Payloads that must have a shape: checked when a job is put and when it is run, by one rule.

Needs the extra: pip install 'taskmaster-pg[json-schema]'.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, time
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from taskmaster.errors import InvalidConfig, InvalidPayload
from taskmaster.imports import resolve
from taskmaster.job import Job, Outcome, Reject
from taskmaster.middleware import (
    Draft,
    Handler,
    Middleware,
    Put,
    PutMiddleware,
    define_middleware,
)
from taskmaster.validation import encode

try:
    import jsonschema_rs
except ImportError:
    raise InvalidConfig(
        "middleware 'json_schema' needs the package jsonschema-rs: pip install 'taskmaster-pg[json-schema]'"
    ) from None

MOST_ERRORS = 100
MOST_CHARACTERS = 200  # of an error, which quotes the schema
VALUE = "the value"  # instead of what is in the payload, for errors are logged
LEAP_SECOND = re.compile(r"(:\d\d):60")
WHERE = "middleware 'json_schema': schema"

Schema = str | Mapping[str, Any] | type[Any]


def wrap_put(*, schema: Schema) -> PutMiddleware:
    """The same around a put."""
    errors_of = _checker(schema)

    def middleware(put: Put) -> Put:
        def checked(draft: Draft) -> int | None:
            # As the callback will see it: a dataclass is an object by then, a tuple a list.
            if errors := errors_of(orjson.loads(encode(draft.payload, max_bytes=_ANY_SIZE))):
                raise InvalidPayload(f"queue {draft.queue_name!r}: {errors}")
            return put(draft)

        return checked

    return middleware


def prepare(*, schema: Schema) -> None:
    """Read the schema before the fork."""
    _checker(schema)


@define_middleware(put=wrap_put, prepare=prepare)
def json_schema(*, schema: Schema) -> Middleware:
    """Reject a job whose payload does not match `schema`, listing each error with its JSON pointer.

    `schema`: a JSON Schema inline, the path of a file that holds one (from
    the current directory, or beside the configuration), a type (dataclass, TypedDict, msgspec.Struct,
    pydantic model), or "module:name" of any of these. `$ref` reaches local files only, from the schema's own place.
    The same check wraps puts of a Publisher that knows the consumer: InvalidPayload is raised, and nothing is put.

    Raises InvalidConfig for what is no schema.

    >>> Consumer("mail", callback="mails:send", middleware=[{"use": "json_schema", "schema": "mail.json"}])
    ... # doctest: +SKIP
    """
    errors_of = _checker(schema)

    def middleware(handler: Handler) -> Handler:
        def checked(job: Job) -> Outcome:
            errors = errors_of(job.payload)
            return Reject(errors) if errors else handler(job)

        return checked

    return middleware


_ANY_SIZE = 2**31  # how large it may be is checked when it is encoded to be put


class _Checker:
    """`checker(payload)`: what is wrong with it in one text, nothing when it is right."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def __call__(self, payload: Any) -> str:
        if self._validator.is_valid(payload):
            return ""
        found = [_described(error) for error in self._validator.iter_errors(payload)]
        rest = f"; and {len(found) - MOST_ERRORS} more" if len(found) > MOST_ERRORS else ""
        return "the payload does not match its schema: " + "; ".join(found[:MOST_ERRORS]) + rest


def _described(error: Any) -> str:
    pointer = "".join(
        "/" + str(part).replace("~", "~0").replace("/", "~1") for part in error.instance_path
    )
    message = (
        error.message
        if len(error.message) <= MOST_CHARACTERS
        else f"{error.message[:MOST_CHARACTERS]}…"
    )
    return f"{pointer or '(the whole)'}: {message}"


_made: dict[str | type[Any], _Checker] = {}


def _checker(schema: Schema) -> _Checker:
    """Made once: in the template, so that its workers have one schema whatever becomes of the file."""
    key = schema if isinstance(schema, type) else repr(schema)
    if key not in _made:
        _made[key] = _new_checker(schema)
    return _made[key]


def _new_checker(schema: Schema) -> _Checker:
    found, base = _found(schema)
    try:
        validator = jsonschema_rs.validator_for(
            found,
            base_uri=base,
            retriever=_local,
            mask=VALUE,
            validate_formats=True,
            formats=FORMATS,
        )
        return _Checker(validator)
    except (ValueError, OSError) as error:
        raise InvalidConfig(
            f"{WHERE} {_name(schema)} is no valid schema: {_first_line(error)}"
        ) from None


def _is(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _plain(value: str) -> str:
    """RFC 3339 allows small letters and leap seconds, which Python reads neither."""
    return LEAP_SECOND.sub(r"\1:59", value.upper())


# As orjson writes them and types read them: without an offset from UTC, too, which RFC 3339 demands.
FORMATS = {
    "date-time": lambda value: (
        len(value) > len("2026-01-01") and _is(datetime.fromisoformat, _plain(value))
    ),
    "time": lambda value: _is(time.fromisoformat, _plain(value)),
}


def _found(schema: Schema) -> tuple[Any, str]:
    """The JSON Schema, and where its references start from."""
    here = Path.cwd().as_uri() + "/"
    if isinstance(schema, str) and _is_reference(schema):
        return _found(resolve(schema, where=WHERE))
    if isinstance(schema, str):
        path = _file(schema)
        return _read(path), path.as_uri()
    if isinstance(schema, Mapping):
        return dict(schema), here
    return _of_type(schema), here


def _is_reference(schema: str) -> bool:
    """ "module:name", which no file is called that one would use."""
    module_name, colon, name = schema.partition(":")
    return bool(colon) and all(
        part.isidentifier() for part in (*module_name.split("."), *name.split("."))
    )


def _file(name: str) -> Path:
    """Looked for in the current directory, then where modules are: beside the configuration."""
    places = [Path.cwd(), *map(Path, sys.path)]
    return next(
        (place / name for place in places if (place / name).is_file()), Path(name)
    ).absolute()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidConfig(f"{WHERE} {str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidConfig(f"{WHERE} {str(path)!r} is not JSON: {error}") from None


def _of_type(found: Any) -> Any:
    """The schema of a type, by pydantic when it is made with it, else by msgspec."""
    try:
        if hasattr(found, "model_json_schema"):
            return found.model_json_schema()
        if hasattr(found, "__pydantic_validator__"):  # one of its dataclasses
            from pydantic import TypeAdapter

            return TypeAdapter(found).json_schema()
        import msgspec

        return msgspec.json.schema(found)
    except Exception as error:  # noqa: BLE001 — names that are not there, fields of no JSON type, and what else it has
        raise InvalidConfig(
            f"{WHERE} {found!r:.100} is neither a JSON Schema nor a type that has one: {_first_line(error)}"
        ) from None


def _local(uri: str) -> Any:
    """What a `$ref` leads to. Only files: a schema must not make a worker ask the network."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc:
        raise ValueError(f"a $ref may lead to local files only, not to {uri}")
    return json.loads(Path(unquote(parts.path)).read_bytes())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _name(schema: Schema) -> str:
    return repr(schema) if isinstance(schema, str) else "inline"
