"""From a middleware as a configuration names it to what builds it, and to what else hangs on its factory."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from importlib.metadata import entry_points
from typing import Any

from taskmaster.chain import Middleware, PutMiddleware
from taskmaster.config import hint
from taskmaster.consumer import MiddlewareSpec
from taskmaster.errors import InvalidConfig
from taskmaster.imports import listed, name_of, resolve_callable
from taskmaster.settlement import Crash

ENTRY_POINT_GROUP = "taskmaster.middleware"

CrashReporter = Callable[[Crash], object]
CrashReporterFactory = Callable[[], CrashReporter | AbstractContextManager[CrashReporter]]
MiddlewareFactory = Callable[[], Middleware | AbstractContextManager[Middleware]]


def middleware_factories(
    specs: Iterable[MiddlewareSpec], *, where: str, queue_name: str | None = None
) -> list[MiddlewareFactory]:
    """What builds a chain in each worker, outermost first. Raises InvalidConfig.

    A factory whose `once` is true may be in it once: what it does twice would be wrong, as counting a run is.
    """
    factories = [middleware_factory(spec, where=where, queue_name=queue_name) for spec in specs]
    made_by = [factory.func for factory in factories if isinstance(factory, partial)]
    for found in made_by:
        if getattr(found, "once", False) and made_by.count(found) > 1:
            raise InvalidConfig(
                f"{where}: {name_of(found)!r} is named twice and may be in a chain once: name it once"
            )
    return factories


def middleware_factory(
    spec: MiddlewareSpec, *, where: str, queue_name: str | None = None
) -> MiddlewareFactory:
    """What builds the middleware in each worker, after the fork. Options are checked here, before any fork.

    With no options and a first parameter that must be given, the object is a middleware itself: it takes the handler.
    Anything else is a factory, called with the options, that returns a middleware or a context manager yielding one.
    One that takes `queue_name` is given the consumer's; one that has `prepare` has that called with its options, now.
    """
    used, options = _parted(spec, where)
    found = _middleware(used, where)
    parameters = _parameters(found)
    if queue_name is not None and any(
        parameter.name == "queue_name" for parameter in parameters or ()
    ):
        options = {"queue_name": queue_name, **options}
    if not options and _takes_handler(parameters):
        return lambda: found
    _check_options(options, parameters, f"{where} {name_of(used)!r}")
    if (prepare := getattr(found, "prepare", None)) is not None:
        prepare(**options)
    return partial(found, **options)


def put_middlewares(specs: Iterable[MiddlewareSpec], *, where: str) -> list[PutMiddleware]:
    """What wraps puts, of the middlewares that have such a side: their factory's `wrap_put`, called with its options.

    Raises InvalidConfig.
    """
    sides = [(_side(spec, "wrap_put", where), _parted(spec, where)[1]) for spec in specs]
    return [wrap(**options) for wrap, options in sides if wrap is not None]


def crash_reporters(specs: Iterable[MiddlewareSpec], *, where: str) -> list[CrashReporterFactory]:
    """What makes the crash reporters of those middlewares that have one: their factory's `report_crashes`.

    It is called with the middleware's options in a process of its own, after a crash, and returns a function that takes
    a Crash, or a context manager yielding one. Raises InvalidConfig.
    """
    sides = [(_side(spec, "report_crashes", where), _parted(spec, where)[1]) for spec in specs]
    return [partial(make, **options) for make, options in sides if make is not None]


def _side(spec: MiddlewareSpec, name: str, where: str) -> Callable[..., Any] | None:
    """What a middleware's factory does elsewhere than around a run."""
    used, options = _parted(spec, where)
    found = _middleware(used, where)
    side: Callable[..., Any] | None = getattr(found, name, None)
    if side is not None:
        _check_options(options, _parameters(found), f"{where} {name_of(used)!r}")
    return side


def open_middleware(factory: MiddlewareFactory, stack: ExitStack) -> Middleware:
    """Call the factory; a context manager that it returns is entered, and left when `stack` closes."""
    made = factory()
    # First, for what @contextmanager makes can be called, too: as a decorator.
    middleware: object = (
        stack.enter_context(made) if isinstance(made, AbstractContextManager) else made
    )
    if not callable(middleware):
        raise InvalidConfig(
            f"a middleware must be a function that takes the handler, {factory!r} made {middleware!r}"
        )
    return middleware


def _parted(spec: MiddlewareSpec, where: str) -> tuple[object, dict[str, Any]]:
    if not isinstance(spec, Mapping):
        return spec, {}
    if "use" not in spec:
        raise InvalidConfig(f"{where}: a middleware's table must hold 'use', got {dict(spec)!r}")
    return spec["use"], {key: value for key, value in spec.items() if key != "use"}


def _middleware(used: object, where: str) -> Callable[..., Any]:
    if not isinstance(used, str) or ":" in used:
        return resolve_callable(used, where=where)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if used not in installed:
        names = listed(sorted(installed)) or "none"
        raise InvalidConfig(
            f"{where}: there is no middleware {used!r}{hint(used, installed)}; installed are {names}; "
            'one of your own is written "module:name"'
        )
    return resolve_callable(installed[used].value, where=f"{where} {used!r}")


def _parameters(found: Callable[..., Any]) -> list[inspect.Parameter] | None:
    try:
        return list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):  # some builtins do not tell
        return None


def _takes_handler(parameters: list[inspect.Parameter] | None) -> bool:
    if parameters is None:
        return True
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return (
        bool(parameters)
        and parameters[0].kind in positional
        and parameters[0].default is inspect.Parameter.empty
    )


def _check_options(
    options: Mapping[str, Any], parameters: list[inspect.Parameter] | None, where: str
) -> None:
    if parameters is None:
        return
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    accepted = {parameter.name: parameter for parameter in parameters if parameter.kind in by_name}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    for option in options:
        if option not in accepted and not takes_any:
            names = [name for name in accepted if name not in ("handler", "queue_name")]
            allowed = f"it accepts {listed(names)}" if names else "it accepts none"
            raise InvalidConfig(
                f"{where}: unknown option {option!r}{hint(option, accepted)}; {allowed}"
            )
    for name, parameter in accepted.items():
        if name not in options and parameter.default is inspect.Parameter.empty:
            raise InvalidConfig(f"{where}: option {name!r} is missing")
