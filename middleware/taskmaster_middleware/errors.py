"""Turn exceptions into outcomes: those worth another run, and those that will never succeed."""

from collections.abc import Sequence

from taskmaster.errors import InvalidConfig, InvalidJob
from taskmaster.imports import resolve
from taskmaster.job import Job, Outcome, Reject, Retry
from taskmaster.middleware import Handler, Middleware
from taskmaster.validation import check_delay

ExceptionClass = type[Exception] | str


def errors(
    *,
    retry: Sequence[ExceptionClass] | None = None,
    reject: Sequence[ExceptionClass] | None = None,
    retry_delay_seconds: float | None = None,
) -> Middleware:
    """Return `Retry` or `Reject` for the exceptions named, as classes or "module:name".

    Subclasses match, the nearest class decides, and a class in both lists is retried. Any other
    exception passes through. If `retry_delay_seconds` is None, the consumer's backoff decides.

    Raises InvalidConfig if neither list is given, or if an entry is not an exception class.

    >>> Consumer("mail", callback="mails:send", middleware=[
    ...     {"use": "errors", "reject": ["builtins:ValueError"], "retry": ["builtins:OSError"]},
    ... ])  # doctest: +SKIP
    """
    if retry is None and reject is None:
        raise InvalidConfig(
            "middleware 'errors' needs a list of exception classes in retry, in reject, or in both"
        )
    _check_retry_delay(retry_delay_seconds)
    outcomes: dict[type, type[Retry] | type[Reject]] = {
        **dict.fromkeys(_classes("reject", reject or ()), Reject),
        **dict.fromkeys(_classes("retry", retry or ()), Retry),
    }

    def middleware(handler: Handler) -> Handler:
        def errors_handler(job: Job) -> Outcome:
            try:
                return handler(job)
            except Exception as error:
                outcome = next((outcomes[c] for c in type(error).__mro__ if c in outcomes), None)
                if outcome is None:
                    raise
                reason = f"{type(error).__name__}: {error}"
                return Reject(reason) if outcome is Reject else Retry(retry_delay_seconds, reason)

        return errors_handler

    return middleware


def _check_retry_delay(seconds: float | None) -> None:
    if seconds is not None:
        try:
            check_delay(seconds)
        except InvalidJob as error:
            raise InvalidConfig(f"middleware 'errors': retry_delay_seconds: {error}") from None


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
