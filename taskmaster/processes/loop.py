"""The supervisor's loop: one thread; signals are data, the loop decides. It never runs user code."""

import logging
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from taskmaster.errors import WorkersFailed
from taskmaster.options import SupervisorOptions
from taskmaster.processes.burial import Usage
from taskmaster.processes.crew import Crew, kill_group
from taskmaster.processes.ledger import Evicted, Ledger
from taskmaster.processes.listener import Heard, Listener
from taskmaster.processes.nursery import Nursery
from taskmaster.processes.signals import Signals
from taskmaster.processes.slots import Slots

log = logging.getLogger("taskmaster.supervisor")

LONGEST_WAIT_SECONDS = 1.0


@dataclass(slots=True)
class Loop:
    """Keeps the wanted number of workers alive until told to stop."""

    options: SupervisorOptions
    signals: Signals
    slots: Slots
    crew: Crew
    nursery: Nursery
    listener: Listener
    ledger: Ledger
    on_ready: Callable[[], object]
    ready: bool = False
    stop_by: float | None = None
    dead_before_born: dict[int, tuple[int, Usage]] = field(default_factory=dict)

    def run(self) -> None:
        """Run until all have left in order. Raises InvalidConfig, SchemaMismatch or WorkersFailed."""
        while not self.finished():
            now = time.monotonic()
            self.tend_store(now)
            self.tend_workers(now)
            self.say_ready()
            self.wait()
        if self.crew.failure is not None:
            raise WorkersFailed(self.crew.failure)

    def finished(self) -> bool:
        return self.stop_by is not None and not any(self.crew.lives())

    # -- what is due

    def tend_store(self, now: float) -> None:
        """Settle, beat, promote, rescue, listen."""
        try:
            if self.ledger.tend(now, idle=self.crew.idle(), living=self.crew.living()):
                self.after_heartbeat()
        except Evicted:
            self.evicted()
        if self.ledger.open:
            self.hear(self.listener.tend(now))

    def after_heartbeat(self) -> None:
        """Puts notify for a while from here; and one idle worker of each consumer looks by itself."""
        if self.crew.idle():
            self.slots.notified_until_ns = time.monotonic_ns() + self.options.notify_ms * 1_000_000
        self.crew.wake_one_each()

    def evicted(self) -> None:
        """Others have taken over our jobs: whoever runs them here must not go on."""
        log.error("this supervisor was taken for dead and its jobs were given to others: its workers are replaced")
        self.kill_all()

    def tend_workers(self, now: float) -> None:
        """Fill vacant slots, give back what waits behind a slow job, end what exceeds its limits or the grace."""
        if self.stop_by is None:
            self.nursery.tend(now)
            if self.ledger.supervisor is not None:
                self.crew.spawn_missing(self.nursery, self.ledger.supervisor, now)
        elif now >= self.stop_by:
            self.kill_all()
        self.crew.enforce_limits(now)
        self.crew.never_born(self.nursery.take_lost())
        self.ledger.releases.extend(self.crew.taken_back_behind_slow_jobs())

    def say_ready(self) -> None:
        if not self.ready and self.listener.up and self.crew.booted():
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
        if self.nursery.channel is not None:
            watched[self.nursery.channel.fileno()] = self.hear_template
        return watched

    def wait_seconds(self) -> float:
        spawning = self.ledger.supervisor is not None and self.nursery.ready
        dues = [self.ledger.next_due(), self.nursery.next_due(), self.crew.next_due(spawning=spawning), self.stop_by]
        next_due = min(due for due in dues if due is not None)
        return min(LONGEST_WAIT_SECONDS, max(0.0, next_due - time.monotonic()))

    def hear(self, heard: Heard | None) -> None:
        """Pass on what LISTEN brought."""
        if heard is None:
            return
        for queue_name, jobs in heard.jobs.items():
            self.crew.wake(queue_name, jobs)
        if heard.due:
            self.ledger.schedule_changed(time.monotonic())

    def hear_template(self) -> None:
        birth = self.nursery.read()
        if birth is None:
            return
        self.crew.born(birth)
        ended = self.dead_before_born.pop(birth.pid, None)
        if ended is not None:
            self.bury(birth.pid, *ended)

    def handle_signals(self) -> None:
        received = self.signals.read()
        if signal.SIGCHLD in received:
            self.reap()
        for number in received:
            if number != signal.SIGCHLD:
                self.stop(signal.Signals(number).name)

    def reap(self) -> None:
        """Wait for every child that is dead: workers, templates, and orphans that callbacks left behind."""
        while (pid := dead_child()) is not None:
            if self.nursery.process is not None and self.nursery.process.pid == pid:
                self.nursery.end("it died")
                continue
            if self.crew.knows(pid):
                kill_group(pid)  # its children; while it is not waited for, its number cannot be another's
            _, status, used = os.wait4(pid, 0)
            self.bury(pid, status, Usage(used.ru_maxrss / 1024, int((used.ru_utime + used.ru_stime) * 1e9)))

    def bury(self, pid: int, status: int, usage: Usage) -> None:
        death = self.crew.died(pid, status, usage)
        if death is not None:
            log.info("worker %s (pid %d) of %r left: %s", death.worker, pid, death.consumer.queue_name, death.cause)
            self.ledger.deaths.append(death)
        elif self.nursery.ordered:
            self.dead_before_born[pid] = status, usage
        if self.crew.failure is not None and self.stop_by is None:
            self.stop("workers fail")

    # -- leaving

    def stop(self, why: str) -> None:
        """Stop claiming, give back what has not started, let running jobs finish; the second time, do not."""
        again = self.stop_by is not None
        grace = 0.0 if again else self.options.grace_seconds
        log.info("%s: stopping %s", why, "now" if again else f"within {grace:g} s; a second signal does not wait")
        self.stop_by = time.monotonic() + grace
        self.ledger.releases.extend(self.crew.stop())

    def kill_all(self) -> None:
        for life in self.crew.lives():
            life.kill()

    def close(self) -> None:
        """Leave nobody and nothing behind."""
        self.nursery.kill()
        self.kill_all()
        deadline = time.monotonic() + 1.0
        while any(life.pid for life in self.crew.lives()) and time.monotonic() < deadline:
            self.reap()
            select.select([self.signals.fileno()], [], [], 0.05)
            self.signals.read()
        self.listener.close()
        self.ledger.close()


def dead_child() -> int | None:
    """The pid of a child that is dead and not yet waited for."""
    try:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    return None if found is None else found.si_pid
