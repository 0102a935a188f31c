"""Import the objects that a configuration names. Each failure is one sentence.

`where` begins that sentence, like "taskmaster.toml: consumer 'mail': callback". Modules are
imported from `sys.path` as it is; import_path.py is about that.
"""

import importlib
import inspect
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from taskmaster.config import hint
from taskmaster.errors import InvalidConfig
from taskmaster.import_path import hidden_files, project_directory
from taskmaster.validation import display

MAX_NAMES = 10  # shown when a name is not found
MAX_MESSAGE = 300  # characters of a foreign error's message


def resolve(reference: str, *, where: str) -> Any:
    """Import the module of "module:name" and return its object. `name` may be dotted.

    Raises InvalidConfig.
    """
    module_name, name = _split(reference, where)
    found: Any = _import(module_name, where)
    for part in name.split("."):
        found = _attribute(found, part, where)
    return found


def resolve_callable(reference: object, *, where: str) -> Callable[..., Any]:
    """Return a function that is given as an object or as "module:name". Raises InvalidConfig."""
    found = resolve(reference, where=where) if isinstance(reference, str) else reference
    if not callable(found):
        verb = f"{reference!r} is" if isinstance(reference, str) else "got"
        raise InvalidConfig(f'{where}: must be a function or "module:name", {verb} {found!r:.100}')
    if inspect.iscoroutinefunction(found):
        raise InvalidConfig(
            f"{where}: {reference!r} is an async function; a worker calls plain ones"
        )
    return cast(Callable[..., Any], found)


def check_takes_job(callback: Callable[..., Any], *, where: str) -> None:
    """Raise InvalidConfig if the callback is a generator or cannot be called with one job."""
    if inspect.isgeneratorfunction(callback):
        raise InvalidConfig(
            f"{where}: {name_of(callback)!r} is a generator function, whose body would never run"
        )
    if (signature := _signature(callback)) is None:
        return
    try:
        signature.bind(None)
    except TypeError:
        raise InvalidConfig(
            f"{where}: {name_of(callback)!r} must take one argument, the job; "
            f"it takes {join_names(signature.parameters) or 'none'}"
        ) from None


def check_makes_component(component: Callable[..., Any], *, where: str) -> None:
    """Raise InvalidConfig if the component needs an argument or is a bare generator function.

    Whether it returns a context manager is seen in the worker, which calls it.
    """
    name = name_of(component)
    if inspect.isgeneratorfunction(component):
        raise InvalidConfig(
            f"{where}: {name!r} is a generator function; decorate it with @contextmanager"
        )
    if (signature := _signature(component)) is None:
        return
    try:
        signature.bind()
    except TypeError:
        raise InvalidConfig(
            f"{where}: {name!r} must take no argument; it takes {join_names(signature.parameters)}"
        ) from None


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return the signature, or None for a builtin without one."""
    try:
        return inspect.signature(function)
    except ValueError:
        return None


# -- "module:name"


def _split(reference: str, where: str) -> tuple[str, str]:
    module_name, _, name = reference.partition(":")
    if not all(part.isidentifier() for part in (*module_name.split("."), *name.split("."))):
        raise InvalidConfig(
            f'{where}: must be "module:name", like "images:thumbnail", got {display(reference)}'
        )
    return module_name, name


def _import(module_name: str, where: str) -> ModuleType:
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:  # the user's code may raise anything
        raise InvalidConfig(f"{where}: {_import_failure(module_name, error)}") from error
    if hidden := hidden_files().get(module_name.partition(".")[0]):
        raise InvalidConfig(
            f"{where}: {hidden.relative_to(hidden.parents[1])} cannot be imported, because another "
            f"module of that name is imported already: rename the file"
        )
    return module


def _import_failure(module_name: str, error: BaseException) -> str:
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing is None:
        return f"importing {module_name!r} raised {_describe(error)}"
    if f"{module_name}.".startswith(f"{missing}."):  # the module itself, or its package
        here = f"{project_directory().name}/"
        return f"there is no module {missing!r}; searched were {here} and the installed packages"
    return f"module {module_name!r} imports {missing!r}, which cannot be found{_origin(error)}"


def _attribute(owner: object, name: str, where: str) -> Any:
    label = f"module {owner.__name__!r}" if isinstance(owner, ModuleType) else repr(owner)
    try:
        return getattr(owner, name)
    except AttributeError:
        raise InvalidConfig(
            f"{where}: {label} has no {name!r}{_alternatives(name, owner)}"
        ) from None
    except (Exception, SystemExit) as error:  # a module's own __getattr__
        raise InvalidConfig(
            f"{where}: reading {name!r} of {label} raised {_describe(error)}"
        ) from error


def _alternatives(name: str, owner: object) -> str:
    public = [known for known in dir(owner) if not known.startswith("_")]
    if near := hint(name, public):
        return near
    own = [
        known
        for known in public
        if getattr(getattr(owner, known, None), "__module__", None) == name_of(owner)
    ]
    return f"; there is {join_names(own)}" if own else "; it defines no function"


def _describe(error: BaseException) -> str:
    text = error.msg if isinstance(error, SyntaxError) else str(error)
    message = " ".join(text.split())[:MAX_MESSAGE]
    return f"{type(error).__name__}{': ' if message else ''}{message}{_origin(error)}"


def _origin(error: BaseException) -> str:
    """Return ` (file:line)` of a SyntaxError, or of the innermost frame of the user's code."""
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({_short(error.filename)}:{error.lineno})"
    machinery = {__file__, importlib.__file__}
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename not in machinery and not frame.filename.startswith("<frozen importlib"):
            return f" ({_short(frame.filename)}:{frame.lineno})"
    return ""


def _short(filename: str) -> str:
    path = Path(filename)
    here = project_directory()
    return str(path.relative_to(here)) if path.is_relative_to(here) else filename


# -- words


def name_of(thing: object) -> str:
    """Return the name of an object, or that of its type if it has none."""
    if isinstance(thing, str):
        return thing
    return str(getattr(thing, "__name__", type(thing).__name__))


def join_names(names: Iterable[str]) -> str:
    """Return the names in quotes, but only the first few of many."""
    shown = list(names)
    rest = f" and {len(shown) - MAX_NAMES} more" if len(shown) > MAX_NAMES else ""
    return ", ".join(map(repr, shown[:MAX_NAMES])) + rest
