"""Exceptions as outcomes: which classes are worth another run, and which never will be."""

from collections.abc import Sequence

from taskmaster.errors import InvalidConfig, InvalidJob
from taskmaster.imports import resolve
from taskmaster.job import Job, Outcome, Reject, Retry
from taskmaster.middleware import Handler, Middleware
from taskmaster.validation import check_delay

ExceptionClass = type[Exception] | str


def errors(
    *,
    retry: Sequence[ExceptionClass] = (),
    reject: Sequence[ExceptionClass] = ("builtins:ValueError",),
    retry_delay_seconds: float | None = None,
) -> Middleware:
    """Answer `Retry` or `Reject` for the exceptions named, as classes or "module:name"; others pass through.

    Subclasses match, the nearest class in the list decides, and a class in both lists is retried.
    `retry_delay_seconds` None: the consumer's backoff decides. Raises InvalidConfig for what is no exception class.
    """
    if retry_delay_seconds is not None:
        try:
            check_delay(retry_delay_seconds)
        except InvalidJob as error:
            raise InvalidConfig(f"middleware 'errors': retry_delay_seconds: {error}") from None
    outcomes: dict[type, type[Retry] | type[Reject]] = dict.fromkeys(
        _classes("reject", reject), Reject
    )
    outcomes.update(dict.fromkeys(_classes("retry", retry), Retry))

    def middleware(handler: Handler) -> Handler:
        def answering(job: Job) -> Outcome:
            try:
                return handler(job)
            except Exception as error:
                verdict = next(
                    (outcomes[base] for base in type(error).__mro__ if base in outcomes), None
                )
                if verdict is None:
                    raise
                reason = f"{type(error).__name__}: {error}"
                return Reject(reason) if verdict is Reject else Retry(retry_delay_seconds, reason)

        return answering

    return middleware


def _classes(option: str, named: Sequence[ExceptionClass]) -> list[type[Exception]]:
    if isinstance(named, str) or not isinstance(named, Sequence):
        raise InvalidConfig(
            f"middleware 'errors': {option} must be a list of exception classes, got {named!r}"
        )
    return [_class(option, item) for item in named]


def _class(option: str, item: ExceptionClass) -> type[Exception]:
    where = f"middleware 'errors': {option}"
    found = resolve(item, where=where) if isinstance(item, str) else item
    if not isinstance(found, type) or not issubclass(found, Exception):
        raise InvalidConfig(f"{where} must name exception classes, got {item!r}")
    return found
