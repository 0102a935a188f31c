"""Callbacks for the tests, named as a configuration names them: "tests.support.callbacks:act"."""

import ctypes
import hashlib
import mmap
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from taskmaster import Ack, Handler, Job, Outcome, Reject, Retry, Snooze
from tests.support.journal import is_open, note, note_job, own_journal, wait_at, wait_until

ACT = "tests.support.callbacks:act"


def act(job: Job) -> Outcome | None:
    """Do what the payload says: `{"do": "reject", …}`; any other payload is acked at once."""
    note_job("began", job)
    asked = job.payload if isinstance(job.payload, dict) else {}
    try:
        return ACTS[asked.get("do", "ack")](job, asked)
    finally:
        note_job("ended", job)


def _ack(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return None


def _hold(job: Job, asked: dict[str, Any]) -> Outcome | None:
    wait_at(asked.get("gate", "gate"))
    return Ack()


def _hold_and_reject(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Hold, and reject. Each settlement that is written adds a failure."""
    wait_at()
    return Reject("as it should be")


def _hold_once(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _hold(job, asked) if job.run_count == 1 else Ack()


def _hold_until_stopping(job: Job, asked: dict[str, Any]) -> Outcome | None:
    wait_until(lambda: job.stopping, "the worker was not asked to stop")
    return Ack()


def _spin(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Compute for that number of seconds."""
    until = time.monotonic() + asked["seconds"]
    while time.monotonic() < until:
        sum(range(500))
    return Ack()


def _raise(job: Job, asked: dict[str, Any]) -> Outcome | None:
    raise ValueError(asked.get("message", "boom"))


def _raise_unstorable(job: Job, asked: dict[str, Any]) -> Outcome | None:
    raise ValueError("a NUL \0, a surrogate \ud800, quotes ' \" and \\ and 🦀")


def _raise_once(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _raise(job, asked) if job.run_count == 1 else Ack()


def _snooze_once(job: Job, asked: dict[str, Any]) -> Outcome | None:
    if len(own_journal().runs_of(job.id)) == 1:
        return Snooze(asked.get("seconds", 0.0))
    return Ack()


class Unwritable:
    """A reason that cannot be converted to text."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


def _reject_unwritable(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return Reject(Unwritable())  # type: ignore[arg-type]


class Fatal(Unwritable):
    """A reason whose conversion to text ends the process."""

    def __str__(self) -> str:
        raise SystemExit("no words and no process")


def _reject_fatally(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return Reject(Fatal())  # type: ignore[arg-type]


def _raise_unwritable(job: Job, asked: dict[str, Any]) -> Outcome | None:
    raise SyntaxError("odd", ("a file", 1, "no number", "some text"))  # type: ignore[arg-type]


def _unknown(job: Job, asked: dict[str, Any]) -> Any:
    return asked.get("result", "done")


def _crash(job: Job, asked: dict[str, Any]) -> Outcome | None:
    os.kill(os.getpid(), getattr(signal, asked.get("signal", "SIGKILL")))
    wait_at("never")
    return None


def _crash_once(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _crash(job, asked) if job.run_count == 1 else Ack()


def _exit(job: Job, asked: dict[str, Any]) -> Outcome | None:
    os._exit(asked.get("code", 0))


def _sys_exit(job: Job, asked: dict[str, Any]) -> Outcome | None:
    sys.exit(asked.get("code", 3))


def _interrupt(job: Job, asked: dict[str, Any]) -> Outcome | None:
    raise KeyboardInterrupt


def _grandchild(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Start a process that would outlive its worker, and hold."""
    child = subprocess.Popen([sys.executable, "-c", "import select; select.select([], [], [], 60)"])
    note("grandchild", child=child.pid)
    return _hold(job, asked)


def _sleep_in_c(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Sleep a minute in C code, which does not run Python's signal handlers."""
    libc = ctypes.PyDLL(None) if asked.get("holding_the_gil") else ctypes.CDLL(None)
    seconds = 60
    while seconds:  # a signal shortens one sleep, not the sum of them
        seconds = libc.sleep(seconds)
    return None


def _swallow(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Hold, whatever is raised."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            wait_at("never")
        except BaseException:  # noqa: BLE001 — that is the test
            continue
    return None


def _eat(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Take that amount of resident memory, and hold."""
    eaten = b"x" * (asked["mb"] * 1024 * 1024)
    wait_at("never")
    return Reject(str(len(eaten)))


def _reserve(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Map that many megabytes without touching them, and compute for a while."""
    with mmap.mmap(-1, asked["mb"] * 1024 * 1024):
        return _spin(job, {"seconds": 0.2})


def _hash(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Compute for minutes in C code."""
    hashlib.pbkdf2_hmac("sha256", b"password", b"salt", 2_000_000_000)
    return None


ACTS: dict[str, Callable[[Job, dict[str, Any]], Outcome | None]] = {
    "ack": _ack,
    "reject": lambda job, asked: Reject(asked.get("reason", "no good")),
    "reject_unwritable": _reject_unwritable,
    "reject_fatally": _reject_fatally,
    "raise_unwritable": _raise_unwritable,
    "retry": lambda job, asked: Retry(asked.get("seconds"), asked.get("reason", "later")),
    "snooze_once": _snooze_once,
    "hold": _hold,
    "hold_and_reject": _hold_and_reject,
    "hold_once": _hold_once,
    "hold_until_stopping": _hold_until_stopping,
    "spin": _spin,
    "raise": _raise,
    "raise_once": _raise_once,
    "raise_unstorable": _raise_unstorable,
    "unknown": _unknown,
    "crash": _crash,
    "crash_once": _crash_once,
    "exit": _exit,
    "sys_exit": _sys_exit,
    "interrupt": _interrupt,
    "grandchild": _grandchild,
    "sleep_in_c": _sleep_in_c,
    "swallow": _swallow,
    "eat": _eat,
    "reserve": _reserve,
    "hash": _hash,
}


def keep_payload(job: Job) -> None:
    """Note the payload and all attributes of the job."""
    note_job(
        "began",
        job,
        payload=job.payload,
        headers=job.headers,
        queue_name=job.queue_name,
        priority=job.priority,
    )
    note_job("ended", job)


# -- components


@contextmanager
def component() -> Iterator[str]:
    """Note when the component is entered and closed. Its value names the pid of the worker."""
    note("entered")
    yield f"of {os.getpid()}"
    note("closed")


def with_component(job: Job) -> None:
    note_job("began", job, component=job.component)
    note_job("ended", job)


@contextmanager
def broken_component() -> Iterator[None]:
    raise RuntimeError("no licence for the renderer")
    yield


@contextmanager
def component_exiting_until_the_gate_opens() -> Iterator[None]:
    note("entered")
    if not is_open("gate"):
        os._exit(7)
    yield


# -- middlewares


def outer(handler: Handler) -> Handler:
    return _note_around("outer", handler)


def inner(handler: Handler) -> Handler:
    return _note_around("inner", handler)


def _note_around(name: str, handler: Handler) -> Handler:
    def handle(job: Job) -> Outcome:
        note_job("before", job, name=name)
        outcome = handler(job)
        note_job("after", job, name=name)
        return outcome

    return handle


def return_42(handler: Handler) -> Handler:
    def nonsense(job: Job) -> Any:
        handler(job)
        return 42

    return nonsense


# -- delays in a type of their own


class Seconds(float):
    """A subclass of float like numpy's, which orjson does not encode."""


def return_own_seconds(job: Job) -> Outcome | None:
    """Return what the payload says in the first run, with a delay in `Seconds`."""
    note_job("began", job)
    first = len(own_journal().runs_of(job.id)) == 1
    note_job("ended", job)
    if not first:
        return None
    return Snooze(Seconds(0.01)) if job.payload == "snooze" else Retry(Seconds(0.01))
