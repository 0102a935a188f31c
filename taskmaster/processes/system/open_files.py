"""Files of Python that hold text or bytes which are not written yet.

A fork copies such a buffer, and each copy would be written.
"""

import ctypes
import gc
import io
import logging
import sys
from contextlib import suppress

BUFFERED = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom)


def flush_before_forks() -> None:
    """Write all that handlers of logging, files and C code hold back."""
    for reference in logging._handlerList:  # type: ignore[attr-defined]
        handler = reference()
        if getattr(handler, "flushOnClose", True):  # not so if records may be dropped in the end
            _flush(handler)
    # The type is asked and not the object, because a proxy would create what it stands for.
    for file in [one for one in gc.get_objects() if issubclass(type(one), BUFFERED)]:
        _flush(file)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    ctypes.CDLL(None).fflush(None)


def _flush(buffer: object) -> None:
    with suppress(AttributeError, OSError, ValueError):  # it is closed, or its disk is full
        buffer.flush()  # type: ignore[attr-defined]
