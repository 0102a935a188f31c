"""Files of Python that hold text or bytes which are not written yet.

A fork copies such a buffer, and each copy would be written. A process that leaves by os._exit loses
it.
"""

import ctypes
import gc
import io
import logging
import sys
from collections.abc import Iterator
from contextlib import suppress
from weakref import ref

BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)

_frozen: list[ref[io.IOBase]] = []


def flush_before_forks() -> None:
    """Write all that is buffered, and remember the files: gc.freeze hides them."""
    for reference in logging._handlerList:  # type: ignore[attr-defined]
        handler = reference()
        if getattr(handler, "flushOnClose", True):  # not so if records may be dropped in the end
            with suppress(AttributeError, OSError, ValueError):
                handler.flush()
    _frozen[:] = map(ref, flush_files())
    ctypes.CDLL(None).fflush(None)  # what C code has printed


def flush_files() -> list[io.IOBase]:
    """Flush all files that are open, and return them."""
    found = [*_open_files()]
    for file in found:
        with suppress(OSError, ValueError):  # it is closed, or its disk is full
            file.flush()
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # the user may have replaced it
            stream.flush()
    return found


def _open_files() -> Iterator[io.IOBase]:
    # The type is asked and not the object, because a proxy would create what it stands for.
    yield from (one for one in gc.get_objects() if issubclass(type(one), BUFFERED))
    for reference in _frozen:
        if (file := reference()) is not None:
            yield file
