"""Keep descriptors 0 to 2 for standard input, output and error, in the supervisor."""

import os
import sys


def keep_for_stdio() -> None:
    """Open those of descriptors 0 to 2 that are closed.

    Otherwise a socket or the scoreboard would get such a number, and output would go into it.
    Children inherit them as they inherit others.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdin = sys.stdin or os.fdopen(0, closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
