"""Callbacks that misbehave in the process that runs them, in the way that the payload names."""

import ctypes
import faulthandler
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from taskmaster import Ack, Job, Outcome, Reject, Retry
from tests.support.journal import note, note_job, wait_at

MISBEHAVE = "tests.support.misbehaving_callbacks:misbehave"
WAIT_FOR_CHILD = "tests.support.misbehaving_callbacks:wait_for_child"
MIB = 1024 * 1024
FAR_SECONDS = "60"  # for a program that is meant to be ended


def misbehave(job: Job) -> Outcome | None:
    """Do what the payload says, and note the beginning and the end of the run.

    A forked child that returns notes an end under its own pid.
    """
    note_job("began", job)
    asked = job.payload if isinstance(job.payload, dict) else {}
    outcome = ACTIONS[asked.get("do", "nothing")](job, asked)
    note_job("ended", job)
    return outcome


def _nothing(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return None


def _hold(job: Job, asked: dict[str, Any]) -> Outcome | None:
    wait_at()
    return None


# -- threads and children


def _threads(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Leave threads running that are never joined."""
    for _ in range(3):
        threading.Thread(
            target=threading.Event().wait, args=(float(FAR_SECONDS),), daemon=False
        ).start()
    return None


def _subprocess(job: Job, asked: dict[str, Any]) -> Outcome | None:
    note("child", child=subprocess.Popen(["sleep", FAR_SECONDS]).pid)
    return None


def _fork_return(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _in_child(Ack)


def _fork_reject(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _in_child(lambda: Reject("by the child"))


def _fork_raise(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _in_child(_raise)


def _fork_exit(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _in_child(lambda: sys.exit(3))


def _raise() -> Outcome:
    raise ValueError("in the child")


def _in_child(act: Callable[[], Outcome]) -> Outcome | None:
    """Fork a child that does `act`, wait for it, and ack in the parent."""
    child = os.fork()
    if not child:
        note("child", child=os.getpid())
        return act()
    os.waitpid(child, 0)
    return None


def _fork_outlive(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Fork a child that returns from the callback long after its parent."""
    child = os.fork()
    if not child:
        note("child", child=os.getpid())
        wait_at()
    return None


def _daemon(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Leave a daemon: a process in its own session whose parent has exited."""
    between = os.fork()
    if not between:
        os.setsid()
        if not os.fork():
            note("child", child=os.getpid())
            os.execvp("sleep", ["sleep", FAR_SECONDS])
        os._exit(0)
    os.waitpid(between, 0)
    return None


def _daemon_in_python(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Leave a daemon without another program, which keeps all descriptors of its worker."""
    if not os.fork():
        os.setsid()
        note("child", child=os.getpid())
        threading.Event().wait(float(FAR_SECONDS))
        os._exit(0)
    wait_at()
    return None


def _exec(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Become another program."""
    os.execvp("sleep", ["sleep", FAR_SECONDS])


def _leave_timers(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Leave timers of all kinds that end the process a little later."""
    signal.setitimer(getattr(signal, asked["timer"]), asked["seconds"])
    faulthandler.dump_traceback_later(asked["seconds"], exit=True)
    return None


def _work(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Compute for that number of seconds."""
    until = time.monotonic() + asked["seconds"]
    while time.monotonic() < until:
        sum(range(500))
    return None


def _short_daemon(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Start that number of daemons, each of which exits at once."""
    for _ in range(asked["count"]):
        between = os.fork()
        if not between:
            if not os.fork():
                os.setsid()
            os._exit(0)
        os.waitpid(between, 0)
    return None


# -- signals, descriptors, directories


def _ignore_sigterm(job: Job, asked: dict[str, Any]) -> Outcome | None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return None


def _block_sigterm(job: Job, asked: dict[str, Any]) -> Outcome | None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    return None


def _close(job: Job, asked: dict[str, Any]) -> Outcome | None:
    os.closerange(asked["first"], 1000)
    return None


def _close_and_open(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Close all descriptors and open others under each number: /dev/zero, or idle sockets."""
    os.closerange(3, 1000)
    for _ in range(60):
        if asked["opens"] == "zeros":
            os.open("/dev/zero", os.O_RDWR)
        else:
            for end in socket.socketpair():
                end.detach()
    return None


def _chdir(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Stay in a directory that is then removed."""
    there = Path(asked["there"])
    there.mkdir()
    os.chdir(there)
    there.rmdir()
    return None


# -- exits


def _os_exit(job: Job, asked: dict[str, Any]) -> Outcome | None:
    os._exit(asked.get("code", 0))


def _sys_exit(job: Job, asked: dict[str, Any]) -> Outcome | None:
    sys.exit(3)


def _system_exit(job: Job, asked: dict[str, Any]) -> Outcome | None:
    raise SystemExit


def _interrupt(job: Job, asked: dict[str, Any]) -> Outcome | None:
    raise KeyboardInterrupt


def _recurse(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _recurse(job, asked)


def _segv(job: Job, asked: dict[str, Any]) -> Outcome | None:
    os.kill(os.getpid(), signal.SIGSEGV)
    wait_at("never")
    return None


def _sigkill(job: Job, asked: dict[str, Any]) -> Outcome | None:
    os.kill(os.getpid(), signal.SIGKILL)
    return None


def _sigkill_once(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _sigkill(job, asked) if job.run_count == 1 else None


def _sigkill_once_then_hold(job: Job, asked: dict[str, Any]) -> Outcome | None:
    return _sigkill(job, asked) if job.run_count == 1 else _hold(job, asked)


# -- output


def _shout(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Write that number of MiB to standard output, and a last line."""
    line = b"x" * 1023 + b"\n"
    for _ in range(asked["mb"]):
        os.write(1, line * 1024)
    os.write(1, asked["last"].encode() + b"\n")
    return None


def _print_and_end(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Write `text` in the way that the payload names, and end as it says."""
    WRITERS[asked["by"]](asked.get("text", ""))
    return ENDS[asked.get("end", "reject")](job, asked)


def _write_in_child(text: str) -> None:
    subprocess.run(["sh", "-c", 'echo "$0"; echo "$0" >&2', text], check=True)


def _print(text: str) -> None:
    print(text)
    print(text, file=sys.stderr)


def _print_part_of_a_line(text: str) -> None:
    print(text, end="")
    print(text, end="", file=sys.stderr)


def _write_in_c(text: str) -> None:
    libc = ctypes.CDLL(None)
    for fd in (1, 2):
        libc.dprintf(fd, b"%s\n", text.encode())


def _write_bytes(fill: bytes) -> Callable[[str], None]:
    def write(text: str) -> None:
        for fd in (1, 2):
            os.write(fd, fill)

    return write


def _write(text: str) -> None:
    for fd in (1, 2):
        os.write(fd, text.encode())


WRITERS: dict[str, Callable[[str], None]] = {
    "print": _print,
    "part of a line": _print_part_of_a_line,
    "write": _write,
    "process": _write_in_child,
    "c": _write_in_c,
    "no utf-8": _write_bytes(b"caf\xe9 \xff\xfe\0 end\n"),
    "nothing": lambda text: None,
}
ENDS: dict[str, Callable[[Job, dict[str, Any]], Outcome | None]] = {
    "ack": _nothing,
    "reject": lambda job, asked: Reject("as asked"),
    "retry": lambda job, asked: Retry(reason="as asked"),
    "raise": lambda job, asked: _raise(),
    "crash": _sigkill,
}


# -- resources


def _progress(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Report the progress of the run, then go on as the payload says."""
    job.progress(asked["fraction"], asked["note"])
    return ACTIONS[asked["then"]](job, asked)


def _spin(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Use CPU until the process is killed."""
    while True:
        sum(range(500))


def _eat(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Take that amount of resident memory, and hold."""
    eaten = b"x" * (asked["mb"] * MIB)
    wait_at("never")
    return Reject(str(len(eaten)))


def _leak(job: Job, asked: dict[str, Any]) -> Outcome | None:
    leaked.append(b"x" * (asked["mb"] * MIB))
    return None


leaked: list[bytes] = []


def _where(job: Job, asked: dict[str, Any]) -> Outcome | None:
    """Note niceness, CPUs and current directory of the worker."""
    note("where", nice=os.nice(0), cpus=sorted(os.sched_getaffinity(0)), cwd=str(Path.cwd()))
    return None


ACTIONS: dict[str, Callable[[Job, dict[str, Any]], Outcome | None]] = {
    "nothing": _nothing,
    "hold": _hold,
    "threads": _threads,
    "subprocess": _subprocess,
    "fork, return": _fork_return,
    "fork, reject": _fork_reject,
    "fork, raise": _fork_raise,
    "fork, exit": _fork_exit,
    "fork, outlive": _fork_outlive,
    "daemon": _daemon,
    "daemon in Python": _daemon_in_python,
    "exec": _exec,
    "leave timers": _leave_timers,
    "work": _work,
    "short daemon": _short_daemon,
    "ignore SIGTERM": _ignore_sigterm,
    "block SIGTERM": _block_sigterm,
    "close": _close,
    "close and open": _close_and_open,
    "chdir": _chdir,
    "os._exit": _os_exit,
    "sys.exit": _sys_exit,
    "raise SystemExit": _system_exit,
    "raise KeyboardInterrupt": _interrupt,
    "recurse": _recurse,
    "raise": lambda job, asked: _raise(),
    "retry": lambda job, asked: Retry(reason="as asked"),
    "reject": lambda job, asked: Reject("as asked"),
    "SIGSEGV": _segv,
    "SIGKILL": _sigkill,
    "SIGKILL once": _sigkill_once,
    "SIGKILL once, then hold": _sigkill_once_then_hold,
    "shout": _shout,
    "print": _print_and_end,
    "progress": _progress,
    "spin": _spin,
    "eat": _eat,
    "leak": _leak,
    "where": _where,
}


@contextmanager
def hanging_component() -> Iterator[None]:
    """Hang when the worker leaves the component."""
    yield
    threading.Event().wait(float(FAR_SECONDS))


def use_children(job: Job) -> None:
    """Ignore SIGCHLD, or start a child and note its exit code."""
    if job.payload["do"] == "ignore":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        note("code", code=subprocess.run(["false"], check=False).returncode)


def wait_for_child(job: Job) -> None:
    """Start a program and wait for it, whatever is raised."""
    child = subprocess.Popen(["sleep", FAR_SECONDS])
    note("child", child=child.pid)
    while child.returncode is None:
        try:
            child.wait()
        except BaseException as error:  # noqa: BLE001 — that is the misbehaviour
            note("swallowed", error=type(error).__name__)
