"""The supervisor's loop: one thread; signals are data, the loop decides. It never runs user code."""

import logging
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from taskmaster.errors import WorkersFailed
from taskmaster.options import SupervisorOptions
from taskmaster.processes.ledger.ledger import Evicted, Ledger
from taskmaster.processes.ledger.listener import Listener, Notifications
from taskmaster.processes.pool.crash_reporter import REPORT_SECONDS
from taskmaster.processes.pool.generations import Generations
from taskmaster.processes.pool.reaper import Reaper
from taskmaster.processes.pool.worker_process import WorkerProcess
from taskmaster.processes.shared.log import write_pending_lines
from taskmaster.processes.shared.snapshot import Snapshot
from taskmaster.processes.supervisor.embedded_service import EmbeddedService
from taskmaster.processes.supervisor.exporter_service import ExporterService
from taskmaster.processes.supervisor.signals import Signals, terminal_is_gone
from taskmaster.processes.supervisor.snapshot import queue_states
from taskmaster.store.supervisors import HeartbeatReport

log = logging.getLogger("taskmaster.supervisor")

LONGEST_WAIT_SECONDS = 1.0
CLOSE_SECONDS = 1.0
LAST_REPORT_SECONDS = 2.0
CLOSE_LOOK_MS = 20


@dataclass(slots=True)
class Loop:
    """Keeps the wanted number of workers alive until told to stop."""

    options: SupervisorOptions
    signals: Signals
    generations: Generations
    listener: Listener
    ledger: Ledger
    on_ready: Callable[[], object]
    exporter_service: ExporterService | None = None
    embedded_service: EmbeddedService | None = None
    ready: bool = False
    stop_by: float | None = None
    reaper: Reaper = field(init=False)

    def __post_init__(self) -> None:
        child_services = [
            one for one in (self.exporter_service, self.embedded_service) if one is not None
        ]
        self.reaper = Reaper(self.generations, self.ledger.pending_settlements, child_services)

    def run(self) -> None:
        """Run until all have left in order. Raises InvalidConfig, SchemaMismatch or WorkersFailed."""
        while not self.finished():
            now = time.monotonic()
            self.run_store(now)
            self.run_workers(now)
            if self.exporter_service is not None:
                self.exporter_service.run_due(now)
            self.say_ready()
            self.wait()
        if self.reaper.failure is not None:
            raise WorkersFailed(self.reaper.failure)

    def finished(self) -> bool:
        return self.stop_by is not None and not any(self.processes()) and not self.reporting()

    def reporting(self) -> bool:
        """Does somebody still tell of a crash? It was given a few seconds, and is waited for two at most."""
        now = time.monotonic()
        ends = [
            one.reporter.end_at
            for one in self.generations
            if one.reporter.busy and one.reporter.end_at
        ]
        return any(now < end - REPORT_SECONDS + LAST_REPORT_SECONDS for end in ends)

    def processes(self) -> list[WorkerProcess]:
        return [
            process for generation in self.generations for process in generation.pool.processes()
        ]

    # -- what is due

    def run_store(self, now: float) -> None:
        """Settle, beat, promote, rescue, listen."""
        try:
            if self.ledger.run_due(now, self.report, self.worker_names):
                self.after_heartbeat()
        except Evicted:
            self.evicted()
        if self.embedded_service is not None:
            self.embedded_service.run_due(now, reachable=self.ledger.open)
        if self.ledger.open:
            self.hear(self.listener.run_due(now))

    def report(self) -> HeartbeatReport:
        """What a heartbeat says of us."""
        pools = [generation.pool for generation in self.generations]
        return HeartbeatReport(
            idle=any(pool.idle() for pool in pools),
            idle_ms=self.options.notify_ms,
            lost_leases=self.reaper.counters.lost_leases.total()
            + sum(pool.lost_leases() for pool in pools),
            running=[run for pool in pools for run in pool.running()],
        )

    def worker_names(self) -> list[str]:
        return [name for generation in self.generations for name in generation.pool.worker_names()]

    def after_heartbeat(self) -> None:
        """Puts notify for a while from here; and one idle worker of each consumer looks by itself."""
        current = self.generations.current
        if current.pool.idle():
            current.scoreboard.notified_until_ns = (
                time.monotonic_ns() + self.options.notify_ms * 1_000_000
            )
        self.reaper.counters.wakeups["heartbeat"] += current.pool.wake_one_each()

    def evicted(self) -> None:
        """Others have taken over our jobs: whoever runs them here must not go on."""
        log.error(
            "this supervisor was taken for dead and its jobs were given to others: its workers are replaced"
        )
        self.kill_all()

    def run_workers(self, now: float) -> None:
        """Keep the workers as they should be, and end what outlives the grace."""
        if self.reaper.failure is not None and self.stop_by is None:
            self.stop("workers fail")
        if self.stop_by is not None and now >= self.stop_by:
            self.kill_all()
        self.generations.current.reporter.take(self.ledger.pending_settlements.crashes)
        self.ledger.pending_settlements.crashes.clear()
        self.ledger.releases.extend(self.generations.run_due(now, self.ledger.supervisor))
        self.reaper.end_leftovers()
        write_pending_lines()

    def say_ready(self) -> None:
        if not self.ready and self.listener.up and self.generations.current.pool.proven():
            self.ready = True
            self.on_ready()

    # -- what happens

    def wait(self) -> None:
        """Wait for the next event or due time, and see to the events."""
        watched = self.watched()
        poll = select.poll()
        for fd in watched:
            poll.register(fd, select.POLLIN)
        for fd, _ in poll.poll(self.wait_seconds() * 1000):
            watched[fd]()

    def watched(self) -> dict[int, Callable[[], None]]:
        """The descriptors of the moment: connections and templates come and go."""
        watched: dict[int, Callable[[], None]] = {self.signals.fileno(): self.handle_signals}
        if self.listener.connection is not None:
            watched[self.listener.connection.fileno()] = lambda: self.hear(self.listener.read())
        for generation in self.generations:
            watched |= generation.watched(self.reaper.hear)
        if self.exporter_service is not None and self.exporter_service.channel is not None:
            watched[self.exporter_service.channel.fileno()] = partial(
                self.exporter_service.answer, self.snapshot
            )
        return watched

    def wait_seconds(self) -> float:
        now = time.monotonic()
        registered = self.ledger.supervisor is not None
        dues = [generation.next_due(now, registered=registered) for generation in self.generations]
        dues.append(self.ledger.next_due())
        if (
            self.exporter_service is not None
            and (due := self.exporter_service.next_due()) is not None
        ):
            dues.append(due)
        if self.stop_by is not None and self.stop_by > now:
            dues.append(self.stop_by)
        return min(LONGEST_WAIT_SECONDS, max(0.0, min(dues) - now))

    def hear(self, heard: Notifications | None) -> None:
        """Pass on what LISTEN brought."""
        if heard is None:
            return
        for queue_name, jobs in heard.jobs.items():
            self.reaper.counters.wakeups["notify"] += self.generations.current.pool.wake(
                queue_name, jobs
            )
        if heard.due:
            self.ledger.schedule_changed(time.monotonic())

    def handle_signals(self) -> None:
        received = self.signals.read()
        if signal.SIGCHLD in received:
            self.reaper.reap()
        for number in received:
            if number == signal.SIGHUP and not terminal_is_gone():
                self.reload()
            elif number != signal.SIGCHLD:
                self.stop(signal.Signals(number).name)

    def snapshot(self, number: int) -> Snapshot:
        """How things stand, for the exporter."""
        return Snapshot(
            number,
            queue_states(
                [generation.pool for generation in self.generations], self.reaper.counters
            ),
            self.reaper.counters.wakeups,
            self.ledger.rescued,
            listener_up=self.listener.up,
            database_up=self.ledger.open,
            workers_up=self.generations.current.pool.booted(),
            stopping=self.stop_by is not None,
        )

    # -- reloading and leaving

    def reload(self) -> None:
        """Read the configuration and the code anew, in a new template."""
        if self.stop_by is None:
            log.info("SIGHUP: reloading configuration and code")
            self.generations.reload()

    def stop(self, why: str) -> None:
        """Stop claiming, give back what has not started, let running jobs finish; the second time, do not."""
        again = self.stop_by is not None
        grace = 0.0 if again else self.options.grace_seconds
        log.info(
            "%s: stopping %s",
            why,
            "now" if again else f"within {grace:g} s; a second signal does not wait",
        )
        self.stop_by = time.monotonic() + grace
        self.ledger.releases.extend(self.generations.leave())

    def kill_all(self) -> None:
        for generation in self.generations:
            generation.kill()

    def close(self) -> None:
        """Leave nobody and nothing behind."""
        self.generations.drop_coming()
        self.kill_all()
        if self.embedded_service is not None:
            self.embedded_service.close()
        self.reaper.leftovers = True
        deadline = time.monotonic() + CLOSE_SECONDS
        while (any(self.processes()) or self.reaper.leftovers) and time.monotonic() < deadline:
            self.reaper.reap()
            self.reaper.end_leftovers()
            poll = select.poll()
            poll.register(self.signals.fileno(), select.POLLIN)
            poll.poll(CLOSE_LOOK_MS)
            self.signals.read()
        worker_names = self.worker_names()  # nobody, unless the kernel takes its time
        for generation in self.generations:
            generation.close()
        if self.exporter_service is not None:
            self.exporter_service.close()
        self.listener.close()
        self.ledger.close(time.monotonic(), worker_names)
