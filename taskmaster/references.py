"""From the names in a configuration to the objects that they stand for; what cannot be found is one sentence.

`where` begins that sentence, like "taskmaster.toml: consumer 'mail': callback". Modules are imported from the path as
it is: the command puts the current directory on it.
"""

import importlib
import inspect
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from taskmaster.chain import Middleware, PutMiddleware
from taskmaster.config import hint
from taskmaster.consumer import MiddlewareSpec
from taskmaster.endings import Crash
from taskmaster.errors import InvalidConfig

ENTRY_POINT_GROUP = "taskmaster.middleware"
MAX_NAMES = 10  # shown when a name is not found
MAX_MESSAGE = 300  # characters of a foreign error's message

CrashReporter = Callable[[Crash], object]
CrashReporterFactory = Callable[[], CrashReporter | AbstractContextManager[CrashReporter]]
MiddlewareFactory = Callable[[], Middleware | AbstractContextManager[Middleware]]


def resolve(reference: str, *, where: str) -> Any:
    """The object that "module:name" stands for; `name` may be dotted. Imports the module. Raises InvalidConfig."""
    module_name, name = _split(reference, where)
    found: Any = _imported(module_name, where)
    for part in name.split("."):
        found = _attribute(found, part, where)
    return found


def resolve_callable(reference: object, *, where: str) -> Callable[..., Any]:
    """A function given as it is or as "module:name". Raises InvalidConfig."""
    found = resolve(reference, where=where) if isinstance(reference, str) else reference
    if not callable(found):
        named = f"{reference!r} is " if isinstance(reference, str) else ""
        raise InvalidConfig(f'{where}: must be a function or "module:name", {named or "got "}{found!r:.100}')
    if inspect.iscoroutinefunction(found):
        raise InvalidConfig(f"{where}: {reference!r} is an async function; a worker calls plain ones")
    return cast(Callable[..., Any], found)


def check_takes_job(callback: Callable[..., Any], *, where: str) -> None:
    """Raise InvalidConfig for a callback that cannot be called with one job, or that is a generator."""
    if inspect.isgeneratorfunction(callback):
        raise InvalidConfig(f"{where}: {_name(callback)!r} is a generator function, whose body would never run")
    try:
        inspect.signature(callback).bind(None)
    except TypeError as error:
        raise InvalidConfig(f"{where}: {_name(callback)!r} must take one argument, the job: {error}") from None
    except ValueError:  # some builtins do not tell
        return


def middleware_factory(spec: MiddlewareSpec, *, where: str, queue_name: str | None = None) -> MiddlewareFactory:
    """What builds the middleware in each worker, after the fork. Options are checked here, before any fork.

    With no options and a first parameter that must be given, the object is a middleware itself: it takes the handler.
    Anything else is a factory, called with the options, that returns a middleware or a context manager yielding one.
    One that takes `queue_name` is given the consumer's.
    """
    used, options = _parted(spec, where)
    found = _middleware(used, where)
    parameters = _parameters(found)
    if queue_name is not None and any(parameter.name == "queue_name" for parameter in parameters or ()):
        options = {"queue_name": queue_name, **options}
    if not options and _takes_handler(parameters):
        return lambda: found
    _check_options(options, parameters, f"{where} {_name(used)!r}")
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
        _check_options(options, _parameters(found), f"{where} {_name(used)!r}")
    return side


def open_middleware(factory: MiddlewareFactory, stack: ExitStack) -> Middleware:
    """Call the factory; a context manager that it returns is entered, and left when `stack` closes."""
    made = factory()
    # First, for what @contextmanager makes can be called, too: as a decorator.
    middleware: object = stack.enter_context(made) if isinstance(made, AbstractContextManager) else made
    if not callable(middleware):
        raise InvalidConfig(f"a middleware must be a function that takes the handler, {factory!r} made {middleware!r}")
    return middleware


# -- "module:name"


def _split(reference: str, where: str) -> tuple[str, str]:
    module_name, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise InvalidConfig(f'{where}: must be "module:name", like "images:thumbnail", got {reference!r}')
    return module_name, name


def _imported(module_name: str, where: str) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code: anything may come out of it
        raise InvalidConfig(f"{where}: {_not_imported(module_name, error)}") from error


def _not_imported(module_name: str, error: BaseException) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None:
        return f"importing {module_name!r} raised {_described(error)}"
    if f"{module_name}.".startswith(f"{missing}."):  # the module itself, or a package that it is said to be in
        return f"there is no module {missing!r}; searched were {Path.cwd().name}/ and the installed packages"
    return f"module {module_name!r} imports {missing!r}, which cannot be found{_raised_at(error)}"


def _attribute(owner: object, name: str, where: str) -> Any:
    label = f"module {owner.__name__!r}" if isinstance(owner, ModuleType) else repr(owner)
    try:
        return getattr(owner, name)
    except AttributeError:
        raise InvalidConfig(f"{where}: {label} has no {name!r}{_alternatives(name, owner)}") from None
    except (Exception, SystemExit) as error:  # a module's own __getattr__
        raise InvalidConfig(f"{where}: reading {name!r} of {label} raised {_described(error)}") from error


def _alternatives(name: str, owner: object) -> str:
    public = [known for known in dir(owner) if not known.startswith("_")]
    if near := hint(name, public):
        return near
    own = [known for known in public if getattr(getattr(owner, known, None), "__module__", None) == _name(owner)]
    return f"; there is {_listed(own)}" if own else "; it defines no function"


def _described(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    message = " ".join(text.split())[:MAX_MESSAGE]
    return f"{type(error).__name__}{': ' if message else ''}{message}{_raised_at(error)}"


def _raised_at(error: BaseException) -> str:
    """` (file:line)` of the innermost frame that is not the import machinery; for a SyntaxError, of the text itself."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_short(error.filename)}:{error.lineno})"
    machinery = {__file__, importlib.__file__}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename not in machinery and not frame.filename.startswith("<frozen importlib"):
            return f" ({_short(frame.filename)}:{frame.lineno})"
    return ""


def _short(filename: str) -> str:
    path = Path(filename)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else filename


# -- middlewares


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
        names = _listed(sorted(installed)) or "none"
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
    return bool(parameters) and parameters[0].kind in positional and parameters[0].default is inspect.Parameter.empty


def _check_options(options: Mapping[str, Any], parameters: list[inspect.Parameter] | None, where: str) -> None:
    if parameters is None:
        return
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    accepted = {parameter.name: parameter for parameter in parameters if parameter.kind in by_name}
    takes_any = any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters)
    for option in options:
        if option not in accepted and not takes_any:
            names = [name for name in accepted if name != "handler"]
            allowed = f"it accepts {_listed(names)}" if names else "it accepts none"
            raise InvalidConfig(f"{where}: unknown option {option!r}{hint(option, accepted)}; {allowed}")
    for name, parameter in accepted.items():
        if name not in options and parameter.default is inspect.Parameter.empty:
            raise InvalidConfig(f"{where}: option {name!r} is missing")


# -- words


def _name(thing: object) -> str:
    return thing if isinstance(thing, str) else str(getattr(thing, "__name__", type(thing).__name__))


def _listed(names: Iterable[str]) -> str:
    shown = list(names)
    rest = f" and {len(shown) - MAX_NAMES} more" if len(shown) > MAX_NAMES else ""
    return ", ".join(map(repr, shown[:MAX_NAMES])) + rest
