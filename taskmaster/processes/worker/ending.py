"""The end of a worker: what a normal end of Python does, within a bound.

A worker leaves by os._exit, so that it never returns into the code of its template.
"""

import atexit
import faulthandler
import gc
import io
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from taskmaster.processes.worker.output import flush_c

END_SECONDS = 2.0


def end_as_python_does() -> None:
    """Join threads, run atexit functions, and flush plain files that jobs have left open.

    After two seconds the process exits anyway, and its stack on standard error shows what hung.
    """
    faulthandler.dump_traceback_later(END_SECONDS, exit=True, file=sys.__stderr__ or 2)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    _finish_files()
    flush_c()
    faulthandler.cancel_dump_traceback_later()


def _finish_files() -> None:
    """Bring what files have buffered to the disk: text first, compressed files next, bytes last.

    Each of these writes into those that follow. The garbage collector finds files of modules that
    the template imported only after `gc.unfreeze`.
    """
    gc.unfreeze()
    kept = (sys.stdout, sys.stderr)  # the template flushes them last
    files = [one for one in gc.get_objects() if isinstance(one, io.IOBase) and one not in kept]
    for file in files:
        if isinstance(file, io.TextIOWrapper):
            _try(file.flush)
    for file in files:
        if not type(file).__module__.startswith("_io"):  # written in Python, such as GzipFile
            _try(file.close)
    for file in files:
        if isinstance(file, io.BufferedWriter | io.BufferedRandom):
            _try(file.flush)


def _try(finish: Callable[[], object]) -> None:
    with suppress(OSError, ValueError):  # it is closed, or its disk is full
        finish()
