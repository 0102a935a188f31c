"""Generators of random numbers over a fork: a copy of one draws the same numbers as the original.

Python seeds the module `random` again in each fork. Here the same is done for the generators that
numpy and torch have for all their users.
"""

import random
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from taskmaster.import_path import STANDARD_LIBRARY

SEEDED = ("numpy.random", "torch")
KINDS = {
    "random": ("Random",),
    "numpy.random": ("Generator", "RandomState", "BitGenerator"),
    "torch": ("Generator",),
}
INSTALLED = ("site-packages", "dist-packages")


def seed_again() -> None:
    """Seed the generators that libraries have for all their users, from the system's entropy."""
    for name in SEEDED:
        seed = getattr(sys.modules.get(name), "seed", None)
        if callable(seed):
            with suppress(TypeError):  # numpy cannot seed a kind of generator that the user chose
                seed()


def generators_in(names: Iterable[str]) -> Iterator[str]:
    """Yield the names of the generators that are globals of the user's own modules among these.

    They are not seeded again: a user may have given one a seed on purpose.
    """
    kinds = tuple(_kinds())
    for name in sorted(names):
        if _is_own(name):
            for key, value in list(vars(sys.modules[name]).items()):
                if issubclass(type(value), kinds) and not isinstance(value, random.SystemRandom):
                    yield f"{name}.{key}"


def _kinds() -> Iterator[type]:
    for name, classes in KINDS.items():
        module = sys.modules.get(name)
        found = [getattr(module, one, None) for one in classes]
        yield from (one for one in found if isinstance(one, type))


def _is_own(name: str) -> bool:
    """Return whether a module is neither installed nor part of Python or of a known library."""
    if name.partition(".")[0] in (library.partition(".")[0] for library in KINDS):
        return False
    file = getattr(sys.modules.get(name), "__file__", None)
    if not isinstance(file, str):
        return False
    is_installed = any(part in INSTALLED for part in Path(file).parts)
    return not is_installed and not file.startswith(STANDARD_LIBRARY)
