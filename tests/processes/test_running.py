"""Running consumers: concurrency, order, queues, components and middlewares."""

from pathlib import Path
from typing import Any

from taskmaster import Admin, Consumer, Job, Publisher, State
from tests.support import Gates, Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.queues import is_drained

KEEP = "tests.support.callbacks:keep_payload"


def test_three_workers_run_three_jobs_at_once_and_never_four(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, gates: Gates
) -> None:
    publisher.put_many("q", [{"do": "hold"}] * 10)
    with supervise(Consumer("q", callback=ACT, concurrency=3)) as supervisor:
        eventually(lambda: len(journal.began()) == 3)
        assert len(supervisor.workers()) == 3
        gates.open()
        eventually(lambda: is_drained(admin))
    assert journal.most_at_once() == 3
    assert len(journal.finished()) == len(set(journal.finished())) == 10


def test_one_worker_runs_one_job_at_a_time_in_the_order_of_put(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{}] * 300)
    # A released job would go to the end.
    with supervise(Consumer("q", callback=ACT), slow_after_seconds=60.0):
        eventually(lambda: is_drained(admin))
    assert journal.finished() == ids
    assert journal.most_at_once() == 1


def test_several_consumers_run_their_own_queues_and_no_other(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    names = ["a", "b", "c"]
    ids = {name: publisher.put(name, name) for name in names}
    without_consumer = publisher.put("d")
    with supervise(*(Consumer(name, callback=KEEP) for name in names)) as supervisor:
        eventually(lambda: [record.id for record in admin.find()] == [without_consumer])
        workers = {name: supervisor.workers(name) for name in names}
    seen = {line["queue_name"]: (line["id"], line["pid"]) for line in journal.lines("began")}
    assert seen == {name: (ids[name], workers[name][0]) for name in names}


def test_blocked_queue_does_not_block_the_others(
    supervise: Supervise, publisher: Publisher, admin: Admin, gates: Gates
) -> None:
    with supervise(Consumer("slow", callback=ACT), Consumer("quick", callback=ACT)):
        publisher.put("slow", {"do": "hold"})
        eventually(lambda: admin.find(queue_name="slow", state=State.RUNNING))
        publisher.put_many("quick", [{}] * 20)
        eventually(lambda: admin.find(queue_name="quick") == [])
        assert admin.find(queue_name="slow", state=State.RUNNING)
        gates.open()
        eventually(lambda: is_drained(admin))


def test_jobs_put_before_the_start_are_found_at_the_start(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    ids = publisher.put_many("q", [{}] * 5)
    with supervise(Consumer("q", callback=ACT)):
        eventually(lambda: is_drained(admin))
    assert journal.finished() == ids


def test_tables_are_created_before_the_first_consumer_starts(
    supervise: Supervise, empty_database_url: str, journal: Journal
) -> None:
    with (
        supervise(Consumer("q", callback=ACT), url=empty_database_url),
        Publisher(empty_database_url) as publisher,
    ):
        job_id = publisher.put("q")
        eventually(lambda: journal.finished() == [job_id])


PAYLOADS: list[Any] = [
    None,
    {},
    [],
    0,
    "",
    {"ä🦀": [1.5, 2**63, {"deep": [None]}], "big": -(2**63)},
]


def test_callback_receives_the_payload_that_was_put(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(Consumer("q", callback=KEEP)):
        publisher.put_many("q", PAYLOADS, headers={"trace": "ä"}, priority=3)
        eventually(lambda: is_drained(admin))
    lines = journal.lines("began")
    assert [line["payload"] for line in lines] == PAYLOADS
    assert all(
        (line["headers"], line["priority"], line["run"]) == ({"trace": "ä"}, 3, 1) for line in lines
    )


def test_closures_and_lambdas_serve_as_callbacks(
    supervise: Supervise, publisher: Publisher, admin: Admin, tmp_path: Path
) -> None:
    greeting, path = "hello", tmp_path / "greetings"

    def greet(job: Job) -> None:
        with path.open("a") as file:
            file.write(f"{greeting} {job.payload}\n")

    consumers = (
        Consumer("closure", callback=greet),
        Consumer("lambda", callback=lambda job: greet(job)),
    )
    with supervise(*consumers):
        publisher.put("closure", "closure")
        publisher.put("lambda", "lambda")
        eventually(lambda: is_drained(admin))
    assert sorted(path.read_text().splitlines()) == ["hello closure", "hello lambda"]


def test_component_is_entered_once_per_worker_and_closed(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    component = "tests.support.callbacks:component"
    callback = "tests.support.callbacks:with_component"
    with supervise(
        Consumer("q", callback=callback, component=component, concurrency=2)
    ) as supervisor:
        publisher.put_many("q", [{}] * 10)
        eventually(lambda: is_drained(admin))
        workers = supervisor.workers()
    assert sorted(line["pid"] for line in journal.lines("entered")) == workers
    assert sorted(line["pid"] for line in journal.lines("closed")) == workers
    assert all(line["component"] == f"of {line['pid']}" for line in journal.lines("began"))


def test_first_middleware_of_a_consumer_is_the_outermost(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    middleware = ["tests.support.callbacks:outer", "tests.support.callbacks:inner"]
    with supervise(Consumer("q", callback=ACT, middleware=middleware)):
        publisher.put("q")
        eventually(lambda: is_drained(admin))
    seen = [(line["word"], line.get("name")) for line in journal.lines()]
    assert seen == [
        ("before", "outer"),
        ("before", "inner"),
        ("began", None),
        ("ended", None),
        ("after", "inner"),
        ("after", "outer"),
    ]


NAMES = [
    "ünïcödé 🦀",
    "'; drop schema taskmaster cascade; --",
    'quo"ted.dots;semi',
    "%s {json} \\N",
    "漢" * 200,
]


def test_any_queue_name_works_from_put_to_ack(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal
) -> None:
    with supervise(*(Consumer(name, callback=KEEP) for name in NAMES)):
        for name in NAMES:
            publisher.put(name)
        eventually(lambda: is_drained(admin))
    assert sorted(line["queue_name"] for line in journal.lines("began")) == sorted(NAMES)


def test_two_schemas_in_one_database_do_not_see_each_other(
    supervise: Supervise, publisher: Publisher, admin: Admin, journal: Journal, database_url: str
) -> None:
    schema = "other \"schema\" 'with' 🦀"
    here = publisher.put("q", "here")
    with (
        supervise(Consumer("q", callback=KEEP), schema=schema),
        Publisher(database_url, schema=schema) as theirs,
        Admin(database_url, schema=schema) as there,
    ):
        theirs.put("q", "there")
        theirs.put("q", "later", delay=0.05)
        eventually(lambda: len(journal.finished()) == 2)
        eventually(lambda: is_drained(there))
    assert [record.id for record in admin.find(state=State.READY)] == [here]
    assert [line["payload"] for line in journal.lines("began")] == ["there", "later"]
