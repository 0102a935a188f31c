"""Callbacks that start processes in each way, and note what these see of their worker."""

import atexit
import faulthandler
import gzip
import json
import multiprocessing
import os
import resource
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import shared_memory
from pathlib import Path
from typing import Any

from taskmaster import Job
from tests.support.journal import JOURNAL, note

KEPT: list[Any] = []
# As modules of users do: the file is open before the template forks.
OPENED = (
    Path(os.environ[JOURNAL] + ".module").open("a")  # noqa: SIM115 — it stays open on purpose
    if JOURNAL in os.environ
    else None
)
PROBE = "import json; from tests.support.probing_callbacks import probe; print(json.dumps(probe()))"
TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
LIMITS = [name for name in dir(resource) if name.startswith("RLIMIT_")]
RESTORED = ("signals", "mask", "timers")
OF_TESTS = ("PYTEST_", "TASKMASTER_TEST_", "SPT_NOENV")  # set for supervisors of tests


def probe() -> dict[str, Any]:
    """Return what a process has from its parent."""
    return {
        "signals": {number: _disposition(number) for number in sorted(signal.valid_signals())},
        "mask": dict.fromkeys(signal.pthread_sigmask(signal.SIG_BLOCK, []), "blocked"),
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
        "environment": {k: v for k, v in os.environ.items() if not k.startswith(OF_TESTS)},
        "timers": {timer: signal.getitimer(timer) for timer in TIMERS},
        "others": {"umask": _umask(), "niceness": os.nice(0)},
    }


def _disposition(number: int) -> str:
    return str(signal.getsignal(number)).partition(" at ")[0]


def _umask() -> int:
    os.umask(before := os.umask(0))
    return before


def note_descriptors() -> None:
    """Note the kinds of files behind the descriptors of this program."""
    kinds = {}
    for fd in range(1000):
        with suppress(OSError):
            kinds[fd] = stat.filemode(os.fstat(fd).st_mode)[0]
    note("child", saw={"descriptors": kinds})


def send_probe(connection: Any) -> None:
    """Send what this process sees."""
    connection.send(probe())


def probe_children(job: Job | None) -> None:
    """Note what a child sees that is started in each way."""
    note("child", how="os.fork", saw=_by_fork())
    for method in ("fork", "spawn", "forkserver"):
        note("child", how=method, saw=_by_multiprocessing(method))
    for how, environment in (("inherited", None), ("copied", dict(os.environ))):
        command = [sys.executable, "-c", PROBE]
        output = subprocess.run(command, env=environment, capture_output=True, check=True).stdout
        note("child", how=how, saw=json.loads(output))


def _by_fork() -> Any:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, json.dumps(probe()).encode())
        os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as file:
        return json.load(file)


def _by_multiprocessing(method: str) -> Any:
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=send_probe, args=(theirs,))
    child.start()
    found = ours.recv()
    child.join()
    return found


def probe_descriptors(job: Job | None) -> None:
    """Note which kinds of files a program inherits from its parent."""
    code = "from tests.support import probing_callbacks; probing_callbacks.note_descriptors()"
    subprocess.run([sys.executable, "-c", code], check=True)


def vandalise(job: Job) -> None:
    """Note what this job finds, and leave something of each kind behind."""
    note("found", saw={key: value for key, value in probe().items() if key in RESTORED})
    signal.signal(signal.SIGALRM, lambda *_: note("alarm"))
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2, signal.SIGTERM, signal.SIGALRM])
    for timer in TIMERS:
        signal.setitimer(timer, 0.001 if timer == signal.ITIMER_REAL else 60)
    while signal.SIGALRM not in signal.sigpending():
        pass


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


def crash_after_enabling(job: Job) -> None:
    """Let the first job send stacks elsewhere, and the second end by a fault."""
    if job.payload["number"] == 1:
        faulthandler.enable()
        note("enabled")
    else:
        crash_by_signal(job)


def leave_shared_memory(job: Job) -> None:
    """Leave a block of shared memory behind, and end this worker if told to."""
    KEPT.append(shared_memory.SharedMemory(create=True, size=100))
    note("left", name=KEPT[-1].name)
    if job.payload["how"] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
