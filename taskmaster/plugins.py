"""Turn the middlewares that a consumer names into the functions that a worker or publisher uses."""

import inspect
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from taskmaster.config import hint
from taskmaster.consumer import MiddlewareSpec
from taskmaster.errors import InvalidConfig
from taskmaster.import_path import own_modules_first
from taskmaster.imports import join_names, name_of, resolve_callable
from taskmaster.middleware import (
    CrashReporter,
    Middleware,
    MiddlewareDefinition,
    PutMiddleware,
)
from taskmaster.validation import display

ENTRY_POINT_GROUP = "taskmaster.middleware"
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
BY_POSITION = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
GIVEN = ("handler", "queue_name")  # parameters that are no options

CrashReporterFactory = Callable[[], CrashReporter | AbstractContextManager[CrashReporter]]
Importing = Callable[[str], AbstractContextManager[None]]
MiddlewareFactory = Callable[[], Middleware | AbstractContextManager[Middleware]]


def middleware_factories(
    specs: Iterable[MiddlewareSpec],
    *,
    where: str,
    queue_name: str | None = None,
    importing: Importing = lambda what: nullcontext(),
) -> list[MiddlewareFactory]:
    """Return the factories of a chain, outermost first. Raises InvalidConfig.

    Each import happens in a context of `importing`, which is given a name for it.
    """
    uses = []
    for spec in specs:
        with importing(f"{where}: importing {name_of_spec(spec)}"):
            uses.append(_parse(spec, where))
    found = [use.found for use in uses]
    for use in uses:
        definition = use.definition
        if definition is not None and definition.once and found.count(definition) > 1:
            raise InvalidConfig(
                f"{where}: {name_of(definition)!r} is named twice and may be in a chain once: "
                "name it once"
            )
    factories = []
    for use in uses:
        with importing(f"{use.where}: preparing it"):
            factories.append(_factory(use, queue_name))
    return factories


def name_of_spec(spec: object) -> str:
    """Return the name of a middleware or a callback in the configuration."""
    return name_of(spec["use"] if isinstance(spec, Mapping) and "use" in spec else spec)


def middleware_factory(
    spec: MiddlewareSpec, *, where: str, queue_name: str | None = None
) -> MiddlewareFactory:
    """Return a function that makes the middleware, to be called in each worker after the fork.

    An object that is given no options and has a first parameter without a default is a middleware
    itself. Any other object is a factory, which is called with the options. A factory that takes
    `queue_name` receives the consumer's. The options are checked now, and `prepare` is called.

    Raises InvalidConfig.
    """
    return _factory(_parse(spec, where), queue_name)


def put_middlewares(specs: Iterable[MiddlewareSpec], *, where: str) -> list[PutMiddleware]:
    """Return the wrappers of puts, of the middlewares that define `put`. Raises InvalidConfig."""
    uses = [_parse(spec, where) for spec in specs]
    return [
        use.definition.put(**use.valid_options())
        for use in uses
        if use.definition is not None and use.definition.put is not None
    ]


def crash_reporters(specs: Iterable[MiddlewareSpec], *, where: str) -> list[CrashReporterFactory]:
    """Return functions that make the crash reporters, of the middlewares that define them.

    They are called in the process that reports crashes. Raises InvalidConfig.
    """
    uses = [_parse(spec, where) for spec in specs]
    return [
        partial(use.definition.report_crashes, **use.valid_options())
        for use in uses
        if use.definition is not None and use.definition.report_crashes is not None
    ]


def open_middleware(factory: MiddlewareFactory, stack: ExitStack) -> Middleware:
    """Call the factory and return its middleware. `stack` leaves a context manager that it made."""
    made = factory()
    # Checked first, because a result of @contextmanager is callable too, as a decorator.
    middleware: object = (
        stack.enter_context(made) if isinstance(made, AbstractContextManager) else made
    )
    if not callable(middleware):
        raise InvalidConfig(
            "a middleware must be a function that takes the handler, "
            f"{name_of(getattr(factory, 'func', factory))!r} made {display(middleware)}"
        )
    return middleware


# -- one entry of a consumer's list


class _Use(NamedTuple):
    """The object that one entry names, and its options. `where` begins sentences about it."""

    found: Callable[..., Any]
    options: dict[str, Any]
    where: str

    @property
    def definition(self) -> MiddlewareDefinition[..., Any] | None:
        return self.found if isinstance(self.found, MiddlewareDefinition) else None

    def valid_options(self) -> dict[str, Any]:
        """Return the options. Raises InvalidConfig if they do not fit the signature."""
        _check_options(self.options, _parameters(self.found), self.where)
        return self.options


def _parse(spec: MiddlewareSpec, where: str) -> _Use:
    used, options = _split(spec, where)
    return _Use(_resolve(used, where), options, f"{where} {name_of(used)!r}")


def _factory(use: _Use, queue_name: str | None) -> MiddlewareFactory:
    found, parameters = use.found, _parameters(use.found)
    names = [parameter.name for parameter in parameters or ()]
    if queue_name is not None and "queue_name" in names:
        use = use._replace(options={"queue_name": queue_name, **use.options})
    if use.definition is None and not use.options and _takes_handler(parameters):
        return lambda: found
    options = use.valid_options()
    if use.definition is not None and use.definition.prepare is not None:
        use.definition.prepare(**options)
    return partial(found, **options)


def _split(spec: MiddlewareSpec, where: str) -> tuple[object, dict[str, Any]]:
    if not isinstance(spec, Mapping):
        return spec, {}
    if "use" not in spec:
        keys = join_names(map(str, spec)) or "nothing"
        raise InvalidConfig(f"{where}: a middleware's table must hold 'use', it holds {keys}")
    return spec["use"], {key: value for key, value in spec.items() if key != "use"}


def _resolve(used: object, where: str) -> Callable[..., Any]:
    if not isinstance(used, str) or ":" in used:
        return resolve_callable(used, where=where)
    installed = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    if used not in installed:
        names = join_names(sorted(installed)) or "none"
        raise InvalidConfig(
            f"{where}: there is no middleware {display(used)}{hint(used, installed)}; "
            f'installed are {names}; one of your own is written "module:name"'
        )
    with own_modules_first():
        return resolve_callable(installed[used].value, where=f"{where} {used!r}")


# -- signatures


def _parameters(found: Callable[..., Any]) -> list[inspect.Parameter] | None:
    """Return the parameters, or None for a builtin without a signature."""
    try:
        return list(inspect.signature(found).parameters.values())
    except (TypeError, ValueError):
        return None


def _takes_handler(parameters: list[inspect.Parameter] | None) -> bool:
    if parameters is None:
        return True
    return (
        bool(parameters)
        and parameters[0].kind in BY_POSITION
        and parameters[0].default is inspect.Parameter.empty
    )


def _check_options(
    options: Mapping[str, Any], parameters: list[inspect.Parameter] | None, where: str
) -> None:
    if parameters is None:
        return
    accepted = {parameter.name: parameter for parameter in parameters if parameter.kind in BY_NAME}
    if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        _refuse_unknown_options(options, list(accepted), where)
    for name, parameter in accepted.items():
        is_given = name in options or name in GIVEN
        if not is_given and parameter.default is inspect.Parameter.empty:
            raise InvalidConfig(f"{where}: option {name!r} is missing")


def _refuse_unknown_options(options: Iterable[str], accepted: list[str], where: str) -> None:
    names = [name for name in accepted if name not in GIVEN]
    allowed = f"it accepts {join_names(names)}" if names else "it accepts none"
    for option in options:
        if option not in accepted:
            raise InvalidConfig(
                f"{where}: unknown option {option!r}{hint(option, accepted)}; {allowed}"
            )
