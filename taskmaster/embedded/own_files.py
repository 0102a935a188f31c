"""Open files of the embedded server's directory, which may be below one that anyone can write to.

A name that another user made may be a pipe, which would block, or a link to any file.
"""

import os
import stat
from collections.abc import Container
from pathlib import Path
from typing import IO

SAFE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def open_own(path: Path, *, owners: Container[int]) -> IO[bytes]:
    """Open a file for appending, and create it if it does not exist.

    Raises OSError. That is PermissionError if it is no regular file, or if its owner is another
    user.
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | SAFE, 0o666)
    return _checked(os.fdopen(fd, "ab"), path, owners)


def read_own(path: Path, *, owners: Container[int] | None = None) -> bytes:
    """Return the content of a regular file. Raises what `open_own` raises."""
    fd = os.open(path, os.O_RDONLY | SAFE)
    with _checked(os.fdopen(fd, "rb"), path, owners) as file:
        return file.read()


def _checked(file: IO[bytes], path: Path, owners: Container[int] | None) -> IO[bytes]:
    status = os.fstat(file.fileno())
    is_ours = owners is None or status.st_uid in owners
    # Another user may have made a second name for a file of root, which would change its owner.
    is_second_name = status.st_uid == 0 and status.st_nlink > 1
    if not stat.S_ISREG(status.st_mode) or not is_ours or is_second_name:
        file.close()
        raise PermissionError(f"{path} is not a file of this user: remove it")
    return file
