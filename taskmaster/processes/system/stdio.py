"""Descriptors 0 to 2 belong to standard input, output and error, whoever started this process."""

import os
import sys


def keep_for_stdio() -> None:
    """Open what is closed of 0 to 2.

    Otherwise a socket or the scoreboard would get the number, and be written to.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        continue
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
