"""Sentry's real SDK against an ingest of our own: events that are sent, and jobs not delayed."""

import json
import time
from typing import Any

import pytest
import sentry_sdk

import taskmaster_middleware.sentry
from taskmaster import Admin, Consumer, InvalidConfig, Publisher, State
from tests.support import Journal, Supervise, eventually
from tests.support.callbacks import ACT
from tests.support.sentry_callbacks import FAIL, SCRUBBED
from tests.support.sentry_server import SentryServer, sentry_server


def sentry(place: SentryServer, **options: Any) -> dict[str, Any]:
    return {"use": "sentry", "dsn": place.dsn, **options}


def test_exception_is_sent_with_its_job_and_without_the_payload(
    supervise: Supervise, publisher: Publisher
) -> None:
    with sentry_server() as place:
        consumer = Consumer(
            "mail", callback=FAIL, middleware=[sentry(place, environment="test")], max_runs=1
        )
        with supervise(consumer):
            job_id = publisher.put(
                "mail", {"do": "raise", "to": "ada@example.com", "parts": [{"password": "x"}]}
            )
            (event,) = eventually(place.events)
    assert event["exception"]["values"][-1]["type"] == "Wrong"
    assert event["tags"] | {"queue": "mail", "job": str(job_id), "run": "1"} == event["tags"]
    assert event["tags"]["worker"]
    assert event["transaction"] == "mail"
    assert event["fingerprint"] == ["{{ default }}", "mail"]
    assert event["contexts"]["job"]["payload"] == {
        "do": "[Filtered]",
        "to": "[Filtered]",
        "parts": [{"password": "[Filtered]"}],
    }
    assert "ada@example.com" not in json.dumps(event)


def test_send_payload_sends_values_but_not_those_of_denied_keys(
    supervise: Supervise, publisher: Publisher
) -> None:
    with sentry_server() as place:
        middleware = sentry(place, send_payload=True, deny=["iban"])
        with supervise(Consumer("mail", callback=FAIL, middleware=[middleware], max_runs=1)):
            publisher.put(
                "mail", {"do": "raise", "to": "ada", "inner": {"Their_IBAN": "DE00 1234"}}
            )
            (event,) = eventually(place.events)
    assert event["contexts"]["job"]["payload"]["to"] == "ada"
    assert "DE00 1234" not in json.dumps(event)


def test_breadcrumbs_and_tags_do_not_leak_from_job_to_job(
    supervise: Supervise, publisher: Publisher
) -> None:
    with (
        sentry_server() as place,
        supervise(Consumer("mail", callback=FAIL, middleware=[sentry(place)], max_runs=1)),
    ):
        ids = publisher.put_many("mail", [{"do": "nothing"}, {"do": "raise"}, {"do": "raise"}])
        eventually(lambda: len(place.events()) == 2)
        events = place.events()
    for job_id, event in zip(
        ids[1:], sorted(events, key=lambda event: int(event["tags"]["job"])), strict=True
    ):
        crumbs = [crumb["message"] for crumb in event["breadcrumbs"]["values"]]
        assert [crumb for crumb in crumbs if crumb.startswith("crumb of")] == [f"crumb of {job_id}"]
        assert event["tags"]["mine"] == job_id


def test_run_killed_with_its_worker_is_sent_by_another_process(
    supervise: Supervise, publisher: Publisher, admin: Admin
) -> None:
    with sentry_server() as place:
        consumer = Consumer("mail", callback=FAIL, middleware=[sentry(place)], max_crashes=1)
        with supervise(consumer):
            job_id = publisher.put("mail", {"do": "crash", "to": "ada@example.com"})
            (event,) = eventually(place.events)
            eventually(lambda: admin.get(job_id).state == State.REJECTED)
    assert event["level"] == "fatal"
    assert event["exception"]["values"][0]["type"] == "signal SIGKILL"
    assert (
        event["tags"] | {"queue": "mail", "job": str(job_id), "run": "1", "cause": "signal SIGKILL"}
        == event["tags"]
    )
    assert event["contexts"]["run"]["rejected"] is True
    assert "ada@example.com" not in json.dumps(event)


def test_run_killed_for_its_timeout_is_sent_with_its_stack(
    supervise: Supervise, publisher: Publisher
) -> None:
    with sentry_server() as place:
        consumer = Consumer(
            "mail",
            callback="tests.support.callbacks:act",
            middleware=[sentry(place)],
            timeout_seconds=1.0,  # it must have come to its hashing by then
            kill_after_seconds=0.1,
            max_crashes=1,
        )
        with supervise(consumer):
            publisher.put("mail", {"do": "hash"})
            (event,) = eventually(place.events)
    assert event["exception"]["values"][0]["type"] == "timeout"
    assert "_hash" in event["extra"]["traceback"]


def test_run_is_a_transaction_in_the_trace_of_its_put(
    supervise: Supervise, database_url: str
) -> None:
    with sentry_server() as place:
        consumer = Consumer(
            "mail", callback=FAIL, middleware=[sentry(place, traces_sample_rate=1.0)]
        )
        sentry_sdk.init(dsn=place.dsn, traces_sample_rate=1.0, default_integrations=False)
        try:
            with supervise(consumer), Publisher(database_url, consumers=[consumer]) as publisher:
                with sentry_sdk.start_transaction(name="request") as request:
                    publisher.put("mail", {"do": "nothing"})
                sentry_sdk.flush()
                eventually(lambda: len(place.items("transaction")) == 2)
        finally:
            sentry_sdk.get_client().close(timeout=1.0)
            sentry_sdk.init()
    run = next(one for one in place.items("transaction") if one["transaction"] == "mail")
    assert run["contexts"]["trace"]["trace_id"] == request.trace_id
    assert run["contexts"]["trace"]["op"] == "queue.process"


def test_hanging_ingest_delays_no_job_and_the_exit_by_2_seconds(
    supervise: Supervise, publisher: Publisher, journal: Journal, admin: Admin
) -> None:
    with sentry_server(hangs=True) as place:
        consumer = Consumer("mail", callback=ACT, middleware=[sentry(place)], max_runs=1)
        with supervise(consumer, grace_seconds=5.0) as supervisor:
            # More than Sentry's SDK keeps.
            ids = publisher.put_many("mail", [{"do": "raise"}] * 300)
            last = publisher.put("mail", {})
            eventually(lambda: place.requests > 0)
            eventually(
                lambda: last in journal.finished() and len(journal.finished()) == len(ids) + 1
            )
            began = time.monotonic()
            assert supervisor.wait_for_exit() == 0
            assert time.monotonic() - began < 5.0  # two for the events, and room for a busy machine
    assert admin.get(ids[0]).state == State.REJECTED


def test_supervisor_exits_in_order_while_crash_reports_hang(
    supervise: Supervise, publisher: Publisher, journal: Journal
) -> None:
    with sentry_server(hangs=True) as place:
        consumer = Consumer(
            "mail", callback=FAIL, middleware=[sentry(place)], concurrency=2, max_crashes=1
        )
        publisher.put_many("mail", [{"do": "crash"}] * 40)
        with supervise(consumer) as supervisor:
            eventually(lambda: place.requests > 0, within=20)
            assert supervisor.wait_for_exit() == 0


def test_logged_payload_is_not_sent_with_the_next_error(
    supervise: Supervise, publisher: Publisher
) -> None:
    with sentry_server() as place:
        middleware = [sentry(place), {"use": "logging", "payload": True}]
        with supervise(Consumer("mail", callback=FAIL, middleware=middleware, max_runs=1)):
            publisher.put("mail", {"do": "nothing", "to": "ada@example.com"})
            publisher.put("mail", {"do": "raise", "to": "bob@example.com"})
            (event,) = eventually(place.events)
    assert "example.com" not in json.dumps(event)


CALLBACKS = "tests.support.sentry_callbacks"
AT_IMPORT = "tests.support.sentry_at_import"


@pytest.mark.parametrize(
    "keys",
    [
        {"callback": f"{AT_IMPORT}:fail"},
        {"callback": FAIL, "component": f"{CALLBACKS}:component"},
        {"callback": f"{CALLBACKS}:set_up_and_fail"},
    ],
    ids=["import", "component", "first job"],
)
def test_client_of_the_application_is_used_as_it_is(
    supervise: Supervise,
    publisher: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    keys: dict[str, Any],
) -> None:
    with sentry_server() as place, sentry_server() as other:
        monkeypatch.setenv("OWN_DSN", place.dsn)
        consumer = Consumer("mail", middleware=[sentry(other)], max_runs=1, **keys)
        with supervise(consumer):
            ids = publisher.put_many("mail", [{"do": "raise"}] * 2)
            eventually(lambda: len(place.events()) == 2)
        events = place.events()
    assert {event["tags"]["job"] for event in events} == set(map(str, ids))
    for event in events:
        assert event["environment"] == "own"
        assert event["exception"]["values"][-1]["value"] == SCRUBBED
        assert event["contexts"]["job"]["payload"] == {"do": "[Filtered]"}
    assert other.received == []


def test_crash_is_sent_by_the_client_set_up_at_import(
    supervise: Supervise, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    with sentry_server() as place:
        monkeypatch.setenv("OWN_DSN", place.dsn)
        consumer = Consumer(
            "mail", callback=f"{AT_IMPORT}:fail", middleware=[sentry(place)], max_crashes=1
        )
        with supervise(consumer):
            publisher.put("mail", {"do": "crash"})
            (event,) = eventually(place.events)
    assert event["exception"]["values"][0]["value"] == SCRUBBED


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"dsn": ""}, "dsn must be"),
        ({"dsn": "nonsense"}, "dsn is not one that Sentry can read"),
        ({"traces_sample_rate": 7}, "traces_sample_rate must be a number from 0 to 1, got 7"),
        ({"send_payload": "false"}, "send_payload must be true or false, got 'false'"),
        ({"deny": 5}, "deny must be a list of words, got 5"),
    ],
)
def test_option_out_of_range_is_refused(options: dict[str, Any], sentence: str) -> None:
    chosen = {"dsn": "http://key@127.0.0.1:9/1", **options}
    with (
        pytest.raises(InvalidConfig, match=f"middleware 'sentry': {sentence}"),
        taskmaster_middleware.sentry.sentry(**chosen),
    ):
        pass
