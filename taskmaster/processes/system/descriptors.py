"""Kinds of descriptors: whether processes that are forked may share one, and how to describe it."""

import fcntl
import logging
import os
import select
import socket
import stat
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

# Devices that have no state of their own.
STATELESS = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty")
IN_MEMORY = ("/memfd:", "/dev/shm/")
# Look-ups of users by the C library, which opens another socket after a fork, and the system's log.
SAFE_PEERS = (
    *("/var/lib/sss/", "/run/samba/", "/var/run/samba/", "/run/nscd/", "/var/run/nscd/"),
    *("/run/systemd/journal/", "/dev/log"),
)
SQLITE = b"SQLite format 3\0"
ENDED = select.POLLHUP | select.POLLRDHUP | select.POLLERR | select.POLLNVAL


class Sharing(Enum):
    """Whether forked processes may share a descriptor."""

    SAFE = "safe"
    DOUBTFUL = "doubtful"  # it depends on what it is used for
    WRONG = "wrong"  # one process receives what another one has asked for


class Finding(NamedTuple):
    """A descriptor in words, like "a connection to 127.0.0.1:5432"."""

    sharing: Sharing
    words: str


SAFE = Finding(Sharing.SAFE, "")


def describe(fd: int, descriptors: Mapping[int, str]) -> Finding:
    """Return what one of these descriptors of this process is. The values are their links."""
    link = descriptors[fd]
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISSOCK(mode):
            return _socket(fd)
        if stat.S_ISFIFO(mode):
            return _pipe(fd, [other for other in descriptors if descriptors[other] == link])
        if stat.S_ISREG(mode) and link.startswith("/"):
            return _file(fd, link)
    except OSError:  # it was closed since the descriptors were listed
        return SAFE
    if stat.S_ISDIR(mode) or link.startswith((*STATELESS, "/dev/pts/")):
        return SAFE
    return Finding(Sharing.DOUBTFUL, link if link.startswith("/") else _kind(link))


def _kind(link: str) -> str:
    """Return "an eventpoll" for "anon_inode:[eventpoll]", and "a pidfd" for "pidfd:[4711]"."""
    name = link.removeprefix("anon_inode:").partition(":")[0].strip("[]")
    return f"{'an' if name.startswith(tuple('aeiou')) else 'a'} {name}"


# -- sockets


def sockets_of_logging() -> set[int]:
    """Return the sockets of handlers of logging, which only write to them."""
    handlers = [reference() for reference in logging._handlerList]  # type: ignore[attr-defined]
    found = [getattr(one, name, None) for one in handlers for name in ("socket", "sock")]
    return {one.fileno() for one in found if isinstance(one, socket.socket)}


def _socket(fd: int) -> Finding:
    is_blocking = os.get_blocking(fd)
    with socket.socket(fileno=os.dup(fd)) as found:
        # The flag is shared, and a default timeout of the user would have changed it.
        os.set_blocking(fd, is_blocking)
        peer = _peer(found)
        if found.type == socket.SOCK_DGRAM:
            return _datagrams(found, peer)
        if found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            return Finding(
                Sharing.DOUBTFUL, f"a listening socket on {_address(found.getsockname())}"
            )
    if peer is None:
        return Finding(Sharing.DOUBTFUL, "a socket")
    if _is_ended(fd) or str(peer).startswith(SAFE_PEERS):
        return SAFE
    if not peer:
        return Finding(Sharing.DOUBTFUL, "a socket pair")
    return Finding(Sharing.WRONG, f"a connection to {_address(peer)}")


def _datagrams(found: socket.socket, peer: object) -> Finding:
    """Return SAFE for a socket that only sends, like that of a handler for syslog."""
    if found.family == socket.AF_UNIX and not found.getsockname():
        return SAFE
    to = f" to {_address(peer)}" if peer else ""
    return Finding(Sharing.DOUBTFUL, f"a datagram socket{to}")


def _peer(found: socket.socket) -> object:
    """Return the address of the other end. None if there is no other end."""
    try:
        return found.getpeername()
    except OSError:
        return None


def _address(address: object) -> str:
    match address:
        case (str() as host, int() as port, *_):
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        case bytes():  # a Unix socket without a file
            return "@" + address.decode(errors="replace").lstrip("\0")
    return str(address)


def _is_ended(fd: int) -> bool:
    """Return whether the other end is closed, so that nothing more can come."""
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return any(events & ENDED for _, events in poll.poll(0))


# -- pipes and files


def _pipe(fd: int, own_ends: list[int]) -> Finding:
    """Return what a pipe is, by the ends of it that this process has."""
    ways = {_way(own) for own in own_ends}
    if os.O_RDWR in ways or len(ways) > 1:
        return Finding(Sharing.DOUBTFUL, "a pipe")
    if _is_ended(fd):
        return SAFE
    if os.O_RDONLY in ways:
        return Finding(Sharing.WRONG, "a pipe from another process")
    return Finding(Sharing.DOUBTFUL, "a pipe to another process")


def _file(fd: int, link: str) -> Finding:
    """Return SAFE for a file that is read, appended to, or mapped into memory."""
    is_appended = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_APPEND
    if _way(fd) == os.O_RDONLY or is_appended or link.startswith(IN_MEMORY) or _is_mapped(fd):
        return SAFE
    if _way(fd) == os.O_RDWR and os.pread(fd, len(SQLITE), 0) == SQLITE:
        return Finding(Sharing.DOUBTFUL, f"the SQLite database {link}")
    return Finding(Sharing.DOUBTFUL, f"{link} for writing")


def _way(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE


def _is_mapped(fd: int) -> bool:
    inode = str(os.fstat(fd).st_ino)
    lines = Path("/proc/self/maps").read_text().splitlines()
    return any(line.split(maxsplit=5)[4] == inode for line in lines)
