"""The import path: the project's directory comes first, but only for the project's own modules.

Our own modules are imported before it is on the path, or with `own_modules_first`. So a file of the
project that is named like a module of Python, such as queue.py, does not break our own processes.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

MOST_SHOWN = 10
STANDARD_LIBRARY = os.path.realpath(Path(os.__file__).parent)

_directories: list[str] = []


def use_directory(directory: Path) -> None:
    """Import modules from the directory of the configuration first, from now on."""
    if str(directory) not in sys.path:
        sys.path.insert(0, str(directory))
    _directories.append(str(directory))


def project_directory() -> Path:
    """Return the directory of the configuration, or the current one if none is in use."""
    return Path(_directories[-1]) if _directories else Path.cwd()


def resolved_path() -> list[str]:
    """Return the import path without symbolic links, as they lead now.

    A process that is started with it later imports from the same release, wherever the links lead
    by then.
    """
    return [_resolve(entry) for entry in _entries()]


def _entries() -> list[str]:
    """Return the import path without entries that are no strings, which Python ignores too."""
    entries: list[object] = [*sys.path]
    return [entry for entry in entries if isinstance(entry, str)]


def _resolve(entry: str) -> str:
    try:
        return os.path.realpath(entry)
    except FileNotFoundError:  # a relative entry, and the current directory is gone
        return entry


def own_first(path: Sequence[str]) -> list[str]:
    """Return an import path by which our own modules and installed packages find what they mean.

    The standard library comes first, and the directory of the configuration last.
    """
    return sorted(path, key=_rank)


def _rank(entry: str) -> int:
    if entry in _directories:
        return 2
    return 0 if is_standard_library(entry) else 1


def is_standard_library(entry: str) -> bool:
    """Return whether an entry of the path is part of the standard library."""
    place = Path(os.path.realpath(entry))
    return str(place) == STANDARD_LIBRARY or place.name == "lib-dynload"


@contextmanager
def own_modules_first() -> Iterator[None]:
    """Import by the path of `own_first` inside this context."""
    before = sys.path[:]
    sys.path[:] = own_first(_entries())
    try:
        yield
    finally:
        sys.path[:] = before


# -- files of the project that cannot be imported


def hidden_note() -> str | None:
    """Return a sentence about the hidden files, or None if there is none."""
    hidden = hidden_files()
    if not hidden:
        return None
    names = [str(file.relative_to(file.parents[1])) for file in hidden.values()]
    rest = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return (
        "modules of the same name are imported instead of these files, rename them: "
        f"{', '.join(names[:MOST_SHOWN])}{rest}"
    )


def hidden_files() -> dict[str, Path]:
    """Return the files of the project whose names modules that we have imported already have.

    The keys are the names. `import queue` returns Python's own module if we have imported that.
    """
    found: dict[str, Path] = {}
    for entry in _entries():
        if is_standard_library(entry):
            break
        for name, file in _modules_in(Path(entry)):
            if _is_hidden(name, file):
                found.setdefault(name, file)
    return found


def _modules_in(directory: Path) -> Iterator[tuple[str, Path]]:
    """Yield the names and files of the modules and packages in a directory."""
    try:
        files = sorted(directory.iterdir())
    except OSError:  # no directory, or not readable
        return
    for file in files:
        if file.suffix == ".py":
            yield file.stem, file
        elif (file / "__init__.py").exists():
            yield file.name, file / "__init__.py"


def _is_hidden(name: str, file: Path) -> bool:
    module = sys.modules.get(name)
    if name in ("__main__", "__init__"):
        return False
    if module is None:
        return name in sys.builtin_module_names
    place = getattr(module, "__file__", None)
    return place is None or os.path.realpath(place) != os.path.realpath(file)
