"""A consumer with everything that it names imported.

The template prepares each consumer once. Its forks, workers and reporters, only use the result.
"""

import os
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from typing import Any, NamedTuple

from taskmaster.chain import build, innermost
from taskmaster.consumer import Callback, Component, Consumer
from taskmaster.errors import InvalidConfig
from taskmaster.imports import (
    check_makes_component,
    check_takes_job,
    name_of,
    resolve_callable,
)
from taskmaster.middleware import Handler
from taskmaster.plugins import (
    CrashReporterFactory,
    Importing,
    MiddlewareFactory,
    crash_reporters,
    middleware_factories,
    open_middleware,
)


class Prepared(NamedTuple):
    """A consumer and its imports. `where` begins the sentences about errors in it."""

    consumer: Consumer
    callback: Callback
    component: Component | None
    middlewares: Sequence[MiddlewareFactory]
    crash_reporters: Sequence[CrashReporterFactory]
    where: str

    def open_component(self, stack: ExitStack) -> Any:
        """Enter the component and return what it yields, or None if there is no component.

        Raises InvalidConfig if it is not a context manager.
        """
        if self.component is None:
            return None
        made: object = self.component()
        if not isinstance(made, AbstractContextManager):
            raise InvalidConfig(
                f"{self.where}: component: {name_of(self.component)!r} must return a context "
                f"manager, it returned {made!r:.100}"
            )
        return stack.enter_context(made)

    def chain(self, stack: ExitStack, callback: Callback) -> Handler:
        """Build the middlewares and return `callback` inside them. Raises InvalidConfig."""
        try:
            middlewares = [open_middleware(factory, stack) for factory in self.middlewares]
            return build(middlewares, innermost(callback))
        except InvalidConfig as error:
            raise InvalidConfig(f"{self.where}: {error}") from None


def prepare(consumer: Consumer, *, source: str, importing: Importing) -> Prepared:
    """Import what the consumer names, each import in a context of `importing`.

    Raises InvalidConfig, beginning with `source` and the key.
    """
    where = f"{source}: consumer {consumer.queue_name!r}"
    try:
        return _prepare(consumer, where, importing)
    except KeyboardInterrupt:
        # A module raised it: Ctrl-C does not reach the processes that prepare consumers.
        raise InvalidConfig(f"{where}: an import raised KeyboardInterrupt") from None


def _prepare(consumer: Consumer, where: str, importing: Importing) -> Prepared:
    with importing(f"{where}: callback: importing {name_of(consumer.callback)}"):
        callback = resolve_callable(consumer.callback, where=f"{where}: callback")
    check_takes_job(callback, where=f"{where}: callback")
    _check_cpus(consumer, where)
    component = consumer.component
    if component is not None:
        with importing(f"{where}: component: importing {name_of(component)}"):
            component = resolve_callable(component, where=f"{where}: component")
        check_makes_component(component, where=f"{where}: component")
    specs, middleware = consumer.middleware, f"{where}: middleware"
    return Prepared(
        consumer=consumer,
        callback=callback,
        component=component,
        middlewares=middleware_factories(
            specs, where=middleware, queue_name=consumer.queue_name, importing=importing
        ),
        crash_reporters=crash_reporters(specs, where=middleware),
        where=where,
    )


def _check_cpus(consumer: Consumer, where: str) -> None:
    available = os.sched_getaffinity(0)
    absent = sorted(set(consumer.cpu_affinity) - available)
    if absent:
        shown = ", ".join(map(str, sorted(available)))
        raise InvalidConfig(f"{where}: cpu_affinity names CPU {absent[0]}; there are {shown}")
