"""The stack that a worker writes before it is killed.

The supervisor requests it by a signal and reads it afterwards. In the worker, faulthandler writes
it from the signal handler itself, so it works while Python code is stuck in C.
"""

import faulthandler
import os
import signal

DUMP_SIGNAL = signal.SIGRTMIN + 10  # callbacks are free to use SIGUSR1 and SIGUSR2
MAX_STACK_BYTES = 16_000


def write_stack_on_signal(stack_fd: int) -> None:
    """Let this process write the stacks of all its threads to `stack_fd`.

    It does so on `DUMP_SIGNAL`, and on a signal by which the kernel ends a faulty program, such as
    SIGSEGV. A process that it forks writes none, because the file is about this one.
    """
    dump_stacks_to(stack_fd)
    os.register_at_fork(after_in_child=_write_no_stack)


def dump_stacks_to(stack_fd: int) -> None:
    """Set the file again, for what a callback may have changed."""
    faulthandler.register(DUMP_SIGNAL, file=stack_fd, all_threads=True)
    faulthandler.enable(file=stack_fd, all_threads=True)


def _write_no_stack() -> None:
    faulthandler.disable()
    faulthandler.unregister(DUMP_SIGNAL)


def read_stack(stack_fd: int) -> str | None:
    """Return what the worker wrote of its stack, or None if it wrote nothing."""
    return os.pread(stack_fd, MAX_STACK_BYTES, 0).decode("utf-8", "replace").strip() or None
