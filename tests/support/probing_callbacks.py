"""Callbacks that start processes in each way, and note what these see of their worker."""

import atexit
import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from taskmaster import Job
from tests.support.journal import note

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV, signal.SIGCHLD)
KEPT: list[Any] = []
PROBE = "import json; from tests.support.probing_callbacks import probe; print(json.dumps(probe()))"


def probe() -> dict[str, Any]:
    """Return what a process inherits: dispositions of signals, their mask, limits and timers."""
    return {
        "signals": [str(signal.getsignal(number)).partition(" at ")[0] for number in ENDING],
        "mask": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
        "address space": list(resource.getrlimit(resource.RLIMIT_AS)),
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
    if how == "file":
        KEPT.append(Path(path).open("w"))  # noqa: SIM115 — it stays open on purpose
        KEPT[-1].write("all of it")
    else:
        atexit.register(Path(path).write_text, "all of it")
    note("left")


def leave_a_hanging_end(job: Job) -> None:
    """Leave a function that the end of the process waits for."""
    atexit.register(signal.pause)
    note("left")
