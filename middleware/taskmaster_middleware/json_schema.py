"""Check payloads against a schema, when a job is put and when it is run.

Needs the extra: pip install 'taskmaster-pg[json-schema]'.
"""

import json
import re
import sys
from collections.abc import Callable, Mapping
from datetime import datetime, time
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson

from taskmaster.errors import InvalidConfig, InvalidPayload
from taskmaster.import_path import project_directory
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
        "middleware 'json_schema' needs the package jsonschema-rs: "
        "pip install 'taskmaster-pg[json-schema]'"
    ) from None

MOST_ERRORS = 100
MOST_CHARACTERS = 200  # of an error, which quotes the schema
ANY_SIZE_BYTES = 2**31  # the size is checked when the payload is encoded to be put
MASK = "the value"  # replaces the payload's values, because errors are logged
LEAP_SECOND = re.compile(r"(:\d\d):60")
WHERE = "middleware 'json_schema': schema"

Schema = str | Mapping[str, Any] | type[Any]
Checker = Callable[[Any], str]  # returns the errors of a payload, or an empty string


# -- the middleware


def put_checker(*, schema: Schema) -> PutMiddleware:
    """Return the check around puts, which raises InvalidPayload."""
    check = _checker(schema)

    def middleware(put: Put) -> Put:
        def check_put(draft: Draft) -> int | None:
            # As the callback will see it: a dataclass has become an object, a tuple a list.
            payload = orjson.loads(encode(draft.payload, max_bytes=ANY_SIZE_BYTES))
            if errors := check(payload):
                raise InvalidPayload(f"queue {draft.queue_name!r}: {errors}")
            return put(draft)

        return check_put

    return middleware


def prepare(*, schema: Schema) -> None:
    """Read the schema before the fork."""
    _checker(schema)


@define_middleware(put=put_checker, prepare=prepare)
def json_schema(*, schema: Schema) -> Middleware:
    """Reject a job whose payload does not match `schema`, with each error at its JSON pointer.

    `schema` is one of:

    - a JSON Schema inline,
    - the path of a file with one, beside the configuration or from the current directory,
    - a type: dataclass, TypedDict, msgspec.Struct or pydantic model,
    - "module:name" of any of these.

    A `$ref` may lead to local files only, relative to the schema's own place. The same check wraps
    the puts of a Publisher that knows the consumer. It raises InvalidPayload, and nothing is put.

    Raises InvalidConfig if `schema` is not valid.

    >>> Consumer("mail", callback="mails:send", middleware=[
    ...     {"use": "json_schema", "schema": "mail.json"},
    ... ])  # doctest: +SKIP
    """
    check = _checker(schema)

    def middleware(handler: Handler) -> Handler:
        def json_schema_handler(job: Job) -> Outcome:
            errors = check(job.payload)
            return Reject(errors) if errors else handler(job)

        return json_schema_handler

    return middleware


# -- errors of a payload


def _errors(validator: Any, payload: Any) -> str:
    try:
        if validator.is_valid(payload):
            return ""
        found = [_describe(error) for error in validator.iter_errors(payload)]
    except ValueError as error:  # SQL may put JSON that is nested deeper than the checker reads
        return f"the payload cannot be checked against its schema: {error}"
    rest = f"; and {len(found) - MOST_ERRORS} more" if len(found) > MOST_ERRORS else ""
    return "the payload does not match its schema: " + "; ".join(found[:MOST_ERRORS]) + rest


def _describe(error: Any) -> str:
    parts = (str(part).replace("~", "~0").replace("/", "~1") for part in error.instance_path)
    pointer = "".join(f"/{part}" for part in parts)
    message = error.message
    if len(message) > MOST_CHARACTERS:
        message = f"{message[:MOST_CHARACTERS]}…"
    return f"{pointer or '(the whole)'}: {message}"


# -- formats


def _parses(parse: Callable[[str], object], value: str) -> bool:
    try:
        parse(value)
    except ValueError:
        return False
    return True


def _python_datetime(value: str) -> str:
    """Replace small letters and leap seconds, which RFC 3339 allows and Python does not read."""
    return LEAP_SECOND.sub(r"\1:59", value.upper())


# As orjson writes times and types read them. The offset, which RFC 3339 demands, may be missing.
FORMATS = {
    "date-time": lambda value: (
        len(value) > len("2026-01-01") and _parses(datetime.fromisoformat, _python_datetime(value))
    ),
    "time": lambda value: _parses(time.fromisoformat, _python_datetime(value)),
}


# -- schemas

_checkers: dict[str | type[Any], Checker] = {}


def _checker(schema: Schema) -> Checker:
    """Return the checker of a schema.

    It is made once, in the template, so that all its workers have the same schema even if the file
    changes.
    """
    key = schema if isinstance(schema, type) else repr(schema)
    if key not in _checkers:
        _checkers[key] = partial(_errors, _validator(schema))
    return _checkers[key]


def _validator(schema: Schema) -> Any:
    document, base_uri = _load(schema)
    try:
        return jsonschema_rs.validator_for(
            document,
            base_uri=base_uri,
            retriever=_retrieve,
            mask=MASK,
            validate_formats=True,
            formats=FORMATS,
        )
    except (ValueError, OSError) as error:
        raise InvalidConfig(
            f"{WHERE} {_name(schema)} is no valid schema: {_first_line(error)}"
        ) from None


def _load(schema: Schema) -> tuple[Any, str]:
    """Return the JSON Schema, and the URI from which its references start."""
    here = project_directory().as_uri() + "/"
    if isinstance(schema, str) and _is_reference(schema):
        return _load(resolve(schema, where=WHERE))
    if isinstance(schema, str):
        path = _find_file(schema)
        return _read(path), path.as_uri()
    if isinstance(schema, Mapping):
        return dict(schema), here
    return _schema_of_type(schema), here


def _is_reference(schema: str) -> bool:
    """Return True for "module:name", which is not a plausible file name."""
    module_name, colon, name = schema.partition(":")
    parts = (*module_name.split("."), *name.split("."))
    return bool(colon) and all(part.isidentifier() for part in parts)


def _find_file(name: str) -> Path:
    """Look beside the configuration, then in the current directory and on the module path."""
    paths = [place / name for place in (project_directory(), Path(), *map(Path, sys.path))]
    return next((path for path in paths if path.is_file()), Path(name)).absolute()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidConfig(f"{WHERE} {str(path)!r} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidConfig(f"{WHERE} {str(path)!r} is not JSON: {error}") from None


def _schema_of_type(found: Any) -> Any:
    """Return the schema of a type: by pydantic if the type is made with it, else by msgspec."""
    try:
        if hasattr(found, "model_json_schema"):
            return found.model_json_schema()
        if hasattr(found, "__pydantic_validator__"):  # a pydantic dataclass
            from pydantic import TypeAdapter

            return TypeAdapter(found).json_schema()
        import msgspec

        return msgspec.json.schema(found)
    except Exception as error:  # noqa: BLE001 — unresolved names, fields of no JSON type, and more
        raise InvalidConfig(
            f"{WHERE} {found!r:.100} is neither a JSON Schema nor a type that has one: "
            f"{_first_line(error)}"
        ) from None


def _retrieve(uri: str) -> Any:
    """Return the document of a `$ref`. Only files, so that no worker depends on the network."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc:
        raise ValueError(f"a $ref may lead to local files only, not to {uri}")
    return json.loads(Path(unquote(parts.path)).read_bytes())


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _name(schema: Schema) -> str:
    return repr(schema) if isinstance(schema, str) else "inline"
