"""Everything that the author of a middleware imports.

A middleware is a function around a function: it takes a handler and returns a handler. A factory
takes options and returns a middleware, or a context manager that yields one. A factory that does
more than wrap runs is declared with `define_middleware`.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields
from functools import partial
from operator import attrgetter
from typing import Any, Generic, NamedTuple, ParamSpec, TypeVar

import msgspec

from taskmaster.errors import InvalidConfig
from taskmaster.job import Failure, Job, Outcome

__all__ = [
    # around runs
    "Handler",
    "Middleware",
    # around puts
    "Draft",
    "Put",
    "PutMiddleware",
    # after crashes
    "CrashReport",
    "CrashReporter",
    # declarations
    "MiddlewareDefinition",
    "PutFactory",
    "ReporterFactory",
    "define_middleware",
]

Handler = Callable[[Job], Outcome]
Middleware = Callable[[Handler], Handler]


class Draft(NamedTuple):
    """A job that is about to be put. A middleware may pass on `draft._replace(headers=…)`."""

    queue_name: str
    payload: Any
    headers: Mapping[str, Any] | None


Put = Callable[[Draft], int | None]  # returns the id, or None for one of many put together
PutMiddleware = Callable[[Put], Put]


class CrashReport(msgspec.Struct, frozen=True, kw_only=True):
    """A run that ended with its worker, so that no middleware saw its end.

    `job` is the job's id. `failure` is the record on the job's history. `rejected` is True if the
    job will not run again by itself.
    """

    job: int
    queue_name: str
    rejected: bool
    failure: Failure


CrashReporter = Callable[[CrashReport], object]

Options = ParamSpec("Options")
Made_co = TypeVar("Made_co", bound=Middleware | AbstractContextManager[Middleware], covariant=True)
PutFactory = Callable[..., PutMiddleware]
ReporterFactory = Callable[..., CrashReporter | AbstractContextManager[CrashReporter]]


@dataclass(frozen=True, kw_only=True, repr=False)
class MiddlewareDefinition(Generic[Options, Made_co]):
    """Describe a middleware that does more than wrap runs. It is called like its `run`.

    All functions are called with the options that the configuration gives, which are checked
    against the signature of `run`.

    `run` is called in each worker after the fork. It returns a middleware, or a context manager
    that yields one and is left when the worker exits. If it takes `queue_name`, it receives the
    consumer's.
    `put` returns a `PutMiddleware`, which wraps the puts of a Publisher that knows the consumer.
    `report_crashes` returns a `CrashReporter`, or a context manager that yields one. It is called
    in a process of its own after a run that was charged for the crash of its worker. A reporter
    that takes longer than ten seconds is killed.
    `prepare` is called once, before the fork, to load what must be the same in all workers.
    `once` says that the middleware may be in a chain only once.

    Raises InvalidConfig if one of the functions is not callable.

    >>> def timed(*, unit: str = "s") -> Middleware:
    ...     return lambda handler: handler
    >>> MiddlewareDefinition(run=timed, once=True)
    <middleware timed(*, unit: str = 's')>
    """

    run: Callable[Options, Made_co]
    put: PutFactory | None = None
    report_crashes: ReporterFactory | None = None
    prepare: Callable[..., object] | None = None
    once: bool = False

    def __post_init__(self) -> None:
        for name in ("run", "put", "report_crashes", "prepare"):
            function = getattr(self, name)
            if not callable(function) and (function is not None or name == "run"):
                raise InvalidConfig(f"a middleware's {name} must be a function, got {function!r}")
        # As functools.update_wrapper does, which cannot assign to a frozen instance.
        for name in ("__module__", "__name__", "__qualname__", "__doc__"):
            vars(self)[name] = getattr(self.run, name, None)
        vars(self)["__wrapped__"] = self.run

    def __call__(self, *args: Options.args, **options: Options.kwargs) -> Made_co:
        """Return what `run` makes of the options."""
        return self.run(*args, **options)

    def __repr__(self) -> str:
        name = getattr(self.run, "__name__", repr(self.run))
        signature = inspect.signature(self.run).replace(return_annotation=inspect.Signature.empty)
        return f"<middleware {name}{signature}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        # A decorated `run` cannot be pickled by its name, which is the definition's now.
        if self._is_importable():
            return str(self.run.__qualname__)
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return partial(MiddlewareDefinition, **values), ()

    def _is_importable(self) -> bool:
        module_name = getattr(self.run, "__module__", "")
        if module_name == "__main__":  # another module in each process
            return False
        try:
            return attrgetter(self.run.__qualname__)(sys.modules[module_name]) is self
        except (AttributeError, KeyError):
            return False


def define_middleware(
    *,
    put: PutFactory | None = None,
    report_crashes: ReporterFactory | None = None,
    prepare: Callable[..., object] | None = None,
    once: bool = False,
) -> Callable[[Callable[Options, Made_co]], MiddlewareDefinition[Options, Made_co]]:
    """Return a decorator that makes a factory the `run` of a MiddlewareDefinition.

    >>> @define_middleware(once=True)
    ... def counted(*, label: str) -> Middleware:
    ...     '''Count runs under `label`.'''
    ...     return lambda handler: handler
    >>> counted.once, counted.__doc__
    (True, 'Count runs under `label`.')
    """

    def decorate(run: Callable[Options, Made_co]) -> MiddlewareDefinition[Options, Made_co]:
        return MiddlewareDefinition(
            run=run, put=put, report_crashes=report_crashes, prepare=prepare, once=once
        )

    return decorate
