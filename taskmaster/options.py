"""The options of a supervisor: intervals and bounds, in seconds. Tests set them to milliseconds."""

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from taskmaster.errors import InvalidConfig
from taskmaster.validation import check_whole_number, display

SHORTEST_HEARTBEAT_SECONDS = 0.01
LONGEST_SECONDS = 86_400
MOST_BOOT_ATTEMPTS = 10_000
SHORTEST_NOTIFY_MS = 3_000
LOOPBACK = "127.0.0.1"
HOST = re.compile(r"[\w.-]*|[0-9a-fA-F:.]+(%[\w.-]+)?")  # no user, password or path
LARGEST_PORT = 65_535
LogFormat = Literal["text", "json"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """The `[supervisor]` table. All intervals are in seconds.

    - `grace_seconds`: running jobs may continue for this long after SIGTERM.
    - `heartbeat_seconds`: the interval of the supervisor's heartbeats. With each one it also wakes
      an idle worker.
    - `gone_after_seconds`: a supervisor without a heartbeat for longer is gone, and its leases are
      released.
    - `slow_after_seconds`: jobs claimed behind one that runs longer are released.
    - `restart_base_seconds`, `restart_max_seconds`: the backoff before a worker that crashed early
      is replaced.
    - `boot_attempts`: at the start, the supervisor stops after this many workers in a row have
      exited before their first claim. Once a worker of the consumer was up, it tries for ever.
    - `http`: the "host:port" that serves /metrics, /healthz and /readyz. ":port" listens on
      loopback, and port 0 is any free one. None serves nothing.
    - `log_format`: "text" or "json" for the lines of taskmaster's own log. None is "json" if a
      middleware `logging` has `format = "json"`, else "text".
    - `auto_migrate`: create the schema, or bring it to this version, at the start. If False, only
      `taskmaster migrate` does, and a supervisor refuses to start with another version. The
      embedded server is migrated all the same.

    Raises InvalidConfig, naming the option and what is allowed.

    >>> SupervisorOptions(http=":9464").grace_seconds
    30.0
    """

    grace_seconds: float = 30.0
    heartbeat_seconds: float = 1.0
    gone_after_seconds: float = 15.0
    slow_after_seconds: float = 0.5
    restart_base_seconds: float = 0.1
    restart_max_seconds: float = 30.0
    boot_attempts: int = 5
    http: str | None = None
    log_format: Literal["text", "json"] | None = None
    auto_migrate: bool = True

    @property
    def notify_ms(self) -> int:
        """Return for how long puts notify after a worker has announced that it is idle.

        It lasts beyond the next two heartbeats, which renew it.
        """
        return max(SHORTEST_NOTIFY_MS, int(self.heartbeat_seconds * 3_000))

    def __post_init__(self) -> None:
        if self.http is not None:
            host_and_port(self.http)
        for field in fields(self):
            if field.name.endswith("_seconds"):
                _check_seconds(field.name, getattr(self, field.name))
        if self.log_format is not None and self.log_format not in get_args(LogFormat):
            shown = display(self.log_format)
            raise InvalidConfig(f"log_format must be 'text' or 'json', got {shown}")
        if not isinstance(self.auto_migrate, bool):
            shown = display(self.auto_migrate)
            raise InvalidConfig(f"auto_migrate must be true or false, got {shown}")
        check_whole_number("boot_attempts", self.boot_attempts, 1, MOST_BOOT_ATTEMPTS)
        if self.heartbeat_seconds < SHORTEST_HEARTBEAT_SECONDS:
            raise InvalidConfig(
                f"heartbeat_seconds must be at least {SHORTEST_HEARTBEAT_SECONDS}, "
                f"got {self.heartbeat_seconds:g}"
            )
        if self.gone_after_seconds < 3 * self.heartbeat_seconds:
            raise InvalidConfig(
                "gone_after_seconds must be at least three heartbeats "
                f"({3 * self.heartbeat_seconds:g}), got {self.gone_after_seconds:g}: "
                "otherwise a live supervisor would be taken for gone"
            )


def _check_seconds(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= LONGEST_SECONDS:
        raise InvalidConfig(
            f"{name} must be a number from 0 to {LONGEST_SECONDS}, got {display(value)}"
        )


def host_and_port(http: object) -> tuple[str, int]:
    """Return the parts of "host:port". An IPv6 host stands in brackets, and no host is loopback.

    Raises InvalidConfig.

    >>> host_and_port(":9464")
    ('127.0.0.1', 9464)
    """
    host, colon, port = http.rpartition(":") if isinstance(http, str) else ("", "", "")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    is_port = port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT
    if not colon or not is_port or not HOST.fullmatch(host):
        raise InvalidConfig(f'http must be "host:port" like "127.0.0.1:9464", got {display(http)}')
    return host or LOOPBACK, int(port)
