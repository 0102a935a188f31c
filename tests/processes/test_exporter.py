"""The exporter: metrics agree with what happened, and no crash loses a count."""

import signal
import socket
import struct
import time
from functools import partial
from pathlib import Path
from typing import cast

import pytest

from taskmaster import Consumer, Publisher, SupervisorOptions
from taskmaster.errors import InvalidConfig, WorkersFailed
from taskmaster.options import host_and_port
from taskmaster.processes.ipc.plan import Database, ExporterPlan
from taskmaster.processes.ipc.snapshot import QUESTION_BYTES, Snapshot
from taskmaster.processes.supervisor.exporter_service import exporter_service
from tests.support import Gates, Journal, RunningSupervisor, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.counting_callbacks import COUNT
from tests.support.descriptors import open_descriptors
from tests.support.scraping import Exporter

ANY = "127.0.0.1:0"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
COUNTING = Path("/dev/shm")
UNUSED = ExporterPlan(Database("postgresql://unused", "taskmaster"), "/nowhere")


def exporter_pid(supervisor: RunningSupervisor) -> int:
    pids = supervisor.pids_by_title("taskmaster exporter")
    assert len(pids) == 1
    return pids[0]


def test_counts_agree_with_callbacks_while_workers_are_killed(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    consumer = Consumer(
        "q",
        callback=ACT,
        concurrency=3,
        middleware=["metrics"],
        max_crashes=100,
        retry_base_seconds=0.01,
    )
    with supervise(consumer, http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        for _ in range(5):
            publisher.put_many("q", [{}] * 20 + [{"do": "reject"}])
            killed = supervisor.workers()[0]
            supervisor.signal(killed, signal.SIGKILL)
            eventually(partial(is_replaced, supervisor, killed))
        eventually(lambda: exporter.sum("taskmaster_queue_jobs", state="rejected") == 5, within=30)
        eventually(lambda: exporter.sum("taskmaster_queue_jobs") == 5, within=30)
        assert len(set(journal.finished())) == 105
        counted = exporter.sum("taskmaster_jobs_total")
        # A run that was killed between its end in the callback and that in the chain is in the
        # journal only.
        assert 0 <= len(journal.finished()) - counted <= 5
        assert 5 <= exporter.sum("taskmaster_jobs_total", outcome="reject") <= 10
        # One that was killed between its counts is in the first of them only.
        assert 0 <= counted - exporter.sum("taskmaster_job_duration_seconds_count") <= 5
        eventually(
            lambda: exporter.sum("taskmaster_worker_exits_total", cause="signal SIGKILL") == 5
        )
        # Each successor has looked for jobs again.
        eventually(lambda: exporter.sum("taskmaster_workers", state="idle") == 3)


def is_replaced(supervisor: RunningSupervisor, killed: int) -> bool:
    workers = supervisor.workers()
    return len(workers) == 3 and killed not in workers


def test_killed_exporter_is_replaced_without_losing_a_count(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=ACT, middleware=["metrics"]), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        publisher.put_many("q", [{}] * 30)
        eventually(lambda: exporter.sum("taskmaster_jobs_total") == 30)
        killed = exporter_pid(supervisor)
        supervisor.signal(killed, signal.SIGKILL)
        eventually(lambda: exporter_pid(supervisor) != killed)
        # The successor listens on the same socket.
        assert exporter.sum("taskmaster_jobs_total") == 30
        assert exporter.get("/healthz").status == 200


def test_request_of_an_exited_exporter_does_not_end_supervisor() -> None:
    service = exporter_service(
        ":0",
        UNUSED,
        lambda number: pytest.fail("no exporter has sent a request"),
        source="test",
    )
    service.reply()
    service.close()


def test_only_the_last_question_of_an_exporter_gets_a_reply() -> None:
    questions: list[int] = []

    def snapshot(number: int) -> Snapshot:
        questions.append(number)
        return cast(Snapshot, number)

    service = exporter_service(":0", UNUSED, snapshot, source="test")
    service.channel, exporter = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    service.channel.setblocking(False)
    with exporter:
        for number in (1, 2, 3):  # asked while the supervisor waited for the database
            exporter.send(number.to_bytes(QUESTION_BYTES, "big"))
        service.reply()
    service.close()
    assert questions == [3]


def test_users_counters_survive_a_kill_and_gauges_do_not(
    supervise: Supervise, publisher: Publisher
) -> None:
    with supervise(Consumer("q", callback=COUNT), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        publisher.put("q", {"kind": "tame"})
        eventually(lambda: exporter.sum("test_held") == 1)
        publisher.put("q", {"kind": "wild", "crash": True})
        # One count before the crash and one after it.
        eventually(lambda: exporter.sum("test_things_total", kind="wild") == 2)
        assert exporter.sum("test_things_total", kind="tame") == 1
        assert exporter.sum("test_held") == 1  # that of the successor


def test_counts_in_children_do_not_disturb_those_of_the_worker(
    supervise: Supervise, publisher: Publisher
) -> None:
    with supervise(Consumer("q", callback=COUNT, middleware=["metrics"]), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        publisher.put_many("q", [{"kind": "own", "forks": 2, "comes_back": True}] * 5)
        # This is counted last.
        eventually(lambda: exporter.sum("taskmaster_job_wait_seconds_count") == 5)
        assert exporter.sum("taskmaster_jobs_total") == 5  # no child has returned through the chain
        assert exporter.sum("taskmaster_job_duration_seconds_count") == 5
        assert exporter.sum("test_things_total", kind="own") == 5 * (1 + 100)
        publisher.put("q", {"kind": "own", "starts": True})
        eventually(lambda: exporter.sum("taskmaster_jobs_total") == 6)
        (directory,) = [
            one
            for one in COUNTING.glob("taskmaster-metrics-*")
            if str(supervisor.pid) in holders(one)
        ]
        writers = {file.stem.rpartition("_")[2] for file in directory.glob("*.db")}
    assert writers == {"0", "template"}


def test_reload_continues_the_counts(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    consumer = Consumer("q", callback=ACT, concurrency=2, middleware=["metrics"])
    with supervise(consumer, http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        total = 0
        for _ in range(3):
            publisher.put_many("q", [{}] * 200)
            total += 200
            before = set(supervisor.workers())
            supervisor.signal(supervisor.pid, signal.SIGHUP)
            eventually(partial(are_replaced, supervisor, before))
        eventually(lambda: exporter.sum("taskmaster_jobs_total") == total)
        assert len(journal.finished()) == total


def are_replaced(supervisor: RunningSupervisor, before: set[int]) -> bool:
    workers = set(supervisor.workers())
    return len(workers) == len(before) and not workers & before


def test_format_is_the_one_that_the_scraper_asks_for(supervise: Supervise) -> None:
    with supervise(Consumer("q", callback=ACT), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        plain, modern = exporter.get("/metrics"), exporter.get("/metrics", accept=OPEN_METRICS)
        assert plain.content_type.startswith("text/plain")
        assert modern.content_type.startswith("application/openmetrics-text")
        assert modern.text.endswith("# EOF\n")
        assert not plain.text.endswith("# EOF\n")
        assert exporter.get("/nothing").status == 404
        assert (
            exporter.get("/metrics", accept="application/openmetrics-text;version=abc").status
            == 200
        )


def test_scrape_of_a_briefly_busy_supervisor_is_complete(
    supervise: Supervise,
) -> None:
    with supervise(Consumer("q", callback=ACT), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        started = time.monotonic()
        # Longer than a report counts, without any scrape.
        eventually(lambda: time.monotonic() - started > 3.0)
        supervisor.signal(supervisor.pid, signal.SIGSTOP)
        text = exporter.get("/metrics").text
        supervisor.signal(supervisor.pid, signal.SIGCONT)
    assert "taskmaster_supervisor_up 1.0" in text
    assert "taskmaster_listener_up 1.0" in text
    assert 'taskmaster_wakeups_total{source="notify"} 0.0' in text


def test_readyz_names_the_reason_while_healthz_is_ok(
    supervise: Supervise, publisher: Publisher, gates: Gates
) -> None:
    with supervise(Consumer("q", callback=ACT), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        assert exporter.get("/readyz").text == "ready\n"
        publisher.put("q", {"do": "hold"})
        eventually(lambda: exporter.sum("taskmaster_jobs_running") == 1)
        supervisor.stop()
        eventually(
            lambda: (
                exporter.get("/readyz")
                == (503, exporter.get("/healthz").content_type, "not ready: it is stopping\n")
            )
        )
        assert exporter.get("/healthz").text == "ok\n"
        gates.open("gate")


def test_hanging_supervisor_is_unhealthy_and_scrapes_go_on(
    supervise: Supervise, publisher: Publisher
) -> None:
    with supervise(Consumer("q", callback=ACT, middleware=["metrics"]), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        publisher.put("q", {})
        eventually(lambda: exporter.sum("taskmaster_jobs_total") == 1)
        supervisor.signal(supervisor.pid, signal.SIGSTOP)
        assert exporter.get("/healthz").status == 503
        assert exporter.sum("taskmaster_jobs_total") == 1
        eventually(lambda: exporter.sum("taskmaster_supervisor_up") == 0)
        assert "taskmaster_listener_up" not in exporter.get("/metrics").text  # unknown now
        supervisor.signal(supervisor.pid, signal.SIGCONT)
        eventually(lambda: exporter.get("/healthz").status == 200)


def test_unreadable_metric_file_is_skipped_and_counted(
    supervise: Supervise, publisher: Publisher
) -> None:
    before = set(COUNTING.glob("taskmaster-metrics-*"))
    with supervise(Consumer("q", callback=ACT, middleware=["metrics"]), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        publisher.put("q", {})
        # This is counted last.
        eventually(lambda: exporter.sum("taskmaster_job_wait_seconds_count") == 1)
        (torn,) = [
            file
            for directory in set(COUNTING.glob("taskmaster-metrics-*")) - before
            for file in directory.glob("counter_0.db")
            if f"{supervisor.pid}" in holders(directory)
        ]
        torn.write_bytes(struct.pack("iii", 4096, 0, 1 << 20))  # a key that is longer than the file
        assert exporter.sum("taskmaster_unreadable_metric_files_total") == 1
        # The other files are unchanged.
        assert exporter.sum("taskmaster_job_duration_seconds_count") == 1
        supervisor.signal(supervisor.worker(), signal.SIGKILL)
        publisher.put("q", {})
        eventually(lambda: exporter.sum("taskmaster_jobs_total") == 1)
        assert exporter.sum("taskmaster_unreadable_metric_files_total") == 1


def holders(directory: Path) -> set[str]:
    """Return the pids that have the directory open."""
    return {
        process.name
        for process in Path("/proc").iterdir()
        if process.name.isdigit() and str(directory) in open_descriptors(int(process.name)).values()
    }


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_no_file_of_the_exporter_is_left_after_the_end(supervise: Supervise, end: str) -> None:
    with supervise(Consumer("q", callback=ACT, middleware=["metrics"]), http=ANY) as supervisor:
        (directory,) = [
            one
            for one in COUNTING.glob("taskmaster-metrics-*")
            if str(supervisor.pid) in holders(one)
        ]
        if end == "kill":
            supervisor.kill()
        else:
            supervisor.wait_for_exit()
        eventually(lambda: not directory.exists())


def test_address_in_use_is_refused_in_one_sentence(supervise: Supervise) -> None:
    with supervise(Consumer("q", callback=ACT), http=ANY) as supervisor:
        taken = f"127.0.0.1:{Exporter(supervisor.pid).port}"
        sentence = f"http = '{taken}': address already in use"
        with (
            pytest.raises(WorkersFailed, match=sentence),
            supervise(Consumer("r", callback=ACT), http=taken),
        ):
            pass


@pytest.mark.parametrize("http", ["9464", "localhost", "127.0.0.1:65536", "127.0.0.1:x", 9464, ""])
def test_invalid_address_is_refused_with_an_example(http: object) -> None:
    with pytest.raises(
        InvalidConfig, match=r'http must be "host:port" like "127\.0\.0\.1:9464", got'
    ):
        SupervisorOptions(http=http)  # type: ignore[arg-type]


def test_address_without_a_host_is_on_loopback() -> None:
    assert host_and_port(":9464") == ("127.0.0.1", 9464)


def test_unusual_queue_name_is_exported_as_a_label(
    supervise: Supervise, publisher: Publisher
) -> None:
    name = 'o\'dd "q"; {drop}\\ \n😀'
    with supervise(Consumer(name, callback=ACT, middleware=["metrics"]), http=ANY) as supervisor:
        exporter = Exporter(supervisor.pid)
        publisher.put(name, {})
        eventually(lambda: exporter.sum("taskmaster_jobs_total", queue=name) == 1)
        # The next count of the queue.
        eventually(
            lambda: exporter.sum("taskmaster_queue_oldest_seconds", queue=name) == 0, within=30
        )
