"""How a supervisor behaves: intervals and bounds, in seconds. Tests set them to milliseconds."""

from dataclasses import dataclass, fields

from taskmaster.errors import InvalidConfig

SHORTEST_HEARTBEAT_SECONDS = 0.01
LOOPBACK = "127.0.0.1"
LARGEST_PORT = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorOptions:
    """The `[supervisor]` table.

    `grace_seconds`: how long running jobs may go on after SIGTERM.
    `heartbeat_seconds`: how often the supervisor says that it lives, and has an idle worker look again.
    `gone_after_seconds`: a supervisor silent for longer is gone; its leases are given back.
    `slow_after_seconds`: jobs claimed behind one that runs longer are given back.
    `restart_base_seconds`, `restart_max_seconds`: the backoff between replacements of a worker that dies young.
    `boot_attempts`: so many deaths in a row before the first claim stop the supervisor.
    `http`: "host:port" at which /metrics, /healthz and /readyz answer; ":port": on loopback; port 0: any that is free.
        None: nowhere.
    """

    grace_seconds: float = 30.0
    heartbeat_seconds: float = 1.0
    gone_after_seconds: float = 15.0
    slow_after_seconds: float = 0.5
    restart_base_seconds: float = 0.1
    restart_max_seconds: float = 30.0
    boot_attempts: int = 5
    http: str | None = None

    @property
    def notify_ms(self) -> int:
        """How long puts notify after somebody has said that it sleeps: until the next heartbeat but one, at least."""
        return max(3_000, int(self.heartbeat_seconds * 3_000))

    def __post_init__(self) -> None:
        if self.http is not None:
            host_and_port(self.http)
        for field in fields(self):
            if field.name == "http":
                continue
            value = getattr(self, field.name)
            if (
                isinstance(value, bool)
                or not isinstance(value, int | float)
                or not 0 <= value <= 86_400
            ):
                raise InvalidConfig(f"{field.name} must be a number from 0 to 86400, got {value!r}")
        if self.heartbeat_seconds < SHORTEST_HEARTBEAT_SECONDS:
            raise InvalidConfig(
                f"heartbeat_seconds must be at least {SHORTEST_HEARTBEAT_SECONDS}, got {self.heartbeat_seconds:g}"
            )
        if self.gone_after_seconds < 3 * self.heartbeat_seconds:
            raise InvalidConfig(
                f"gone_after_seconds must be at least three heartbeats ({3 * self.heartbeat_seconds:g}), "
                f"got {self.gone_after_seconds:g}: a live supervisor would be taken for dead"
            )


def host_and_port(http: object) -> tuple[str, int]:
    """The parts of "host:port"; an IPv6 host stands in brackets, and no host is loopback. Raises InvalidConfig.

    >>> host_and_port(":9464")
    ('127.0.0.1', 9464)
    """
    host, colon, port = http.rpartition(":") if isinstance(http, str) else ("", "", "")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not (colon and port.isascii() and port.isdigit() and int(port) <= LARGEST_PORT):
        raise InvalidConfig(f'http must be "host:port" like "127.0.0.1:9464", got {http!r}')
    return host or LOOPBACK, int(port)
