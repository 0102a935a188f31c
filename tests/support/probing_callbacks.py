"""Callbacks that start processes in each way, and note what these see of their worker."""

import atexit
import faulthandler
import gzip
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskmaster import Job
from tests.support.journal import JOURNAL, note

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV, signal.SIGCHLD)
KEPT: list[Any] = []
# As modules of users do: the file is open before the template forks.
OPENED = (
    Path(os.environ[JOURNAL] + ".module").open("a")  # noqa: SIM115 — it stays open on purpose
    if JOURNAL in os.environ
    else None
)
PROBE = "import json; from tests.support.probing_callbacks import probe; print(json.dumps(probe()))"


def probe() -> dict[str, Any]:
    """Return what a process inherits: dispositions of signals, their mask, limits and timers."""
    return {
        "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in ENDING],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "address space": list(resource.getrlimit(resource.RLIMIT_AS)),
        "metrics directory": os.environ.get("PROMETHEUS_MULTIPROC_DIR"),
        "timer": list(signal.getitimer(signal.ITIMER_REAL)),
    }


def probe_children(job: Job) -> None:
    """Note what a fork, a child of multiprocessing and a program see."""
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=lambda: queue.put(probe()))
    child.start()
    note("child", how="multiprocessing", saw=queue.get())
    child.join()
    for how, environment in (("inherited", None), ("copied", dict(os.environ))):
        command = [sys.executable, "-c", PROBE]
        output = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        note("child", how=how, saw=json.loads(output))


def crash_by_signal(job: Job) -> None:
    """End this worker as a fault in C does."""
    os.kill(os.getpid(), job.payload["signal"])


def terminate_a_child(job: Job) -> None:
    """Terminate a child that multiprocessing forked, and note how it ended."""
    context = multiprocessing.get_context("fork")
    child = context.Process(target=signal.pause)
    child.start()
    child.terminate()
    child.join()
    note("child", how="terminated", saw=child.exitcode)


def leave_unflushed(job: Job) -> None:
    """Write a text that only the end of the process brings into its file."""
    path, how = job.payload["path"], job.payload["how"]
    if how == "module":
        assert OPENED is not None
        OPENED.write("all of it")
    elif how == "gzip":
        KEPT.append(gzip.open(path, "wt"))  # noqa: SIM115 — it stays open on purpose
        KEPT[-1].write("all of it")
    elif how == "file":
        KEPT.append(Path(path).open("w"))  # noqa: SIM115 — it stays open on purpose
        KEPT[-1].write("all of it")
    else:
        atexit.register(Path(path).write_text, "all of it")
    note("left")


def leave_a_hanging_end(job: Job) -> None:
    """Leave a function that the end of the process waits for."""
    atexit.register(signal.pause)
    note("left")


@contextmanager
def component_that_terminates_a_child() -> Iterator[None]:
    """Terminate a child while the worker boots, and note how it ended."""
    child = multiprocessing.get_context("fork").Process(target=signal.pause)
    child.start()
    child.terminate()
    child.join(5)
    note("child", how="component", saw=child.exitcode)
    child.kill()
    yield


def block_then_probe(job: Job) -> None:
    """Note the mask that this job finds, and block one more signal."""
    note("found", mask=sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])))


def crash_after_enabling(job: Job) -> None:
    """Let the first job send stacks elsewhere, and the second end by a fault."""
    if job.payload["number"] == 1:
        faulthandler.enable()
        note("enabled")
    else:
        crash_by_signal(job)
