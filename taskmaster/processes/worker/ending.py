"""The end of a worker: what a normal end of Python does, within a bound.

A worker leaves by os._exit, so that it never returns into the code of its template.
"""

import atexit
import faulthandler
import gc
import io
import sys
import threading
from contextlib import suppress

END_SECONDS = 2.0


def end_as_python_does() -> None:
    """Join threads, run atexit functions, and flush plain files that jobs have left open.

    After two seconds the process exits anyway, and its stack on standard error shows what hung.
    """
    faulthandler.dump_traceback_later(END_SECONDS, exit=True, file=sys.__stderr__ or 2)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for found in gc.get_objects():
        if isinstance(found, io.TextIOWrapper | io.BufferedWriter | io.BufferedRandom):
            with suppress(OSError, ValueError):  # it is closed, or its disk is full
                found.flush()
    faulthandler.cancel_dump_traceback_later()
