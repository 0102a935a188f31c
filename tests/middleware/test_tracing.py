"""The real OpenTelemetry SDK, across processes: one trace from the put to the callback's spans."""

from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from taskmaster import Admin, Consumer, Publisher, State
from taskmaster.job import ACK
from taskmaster.testing import make_job
from taskmaster_middleware.tracing import tracing
from tests.support import Journal, Supervise, eventually
from tests.support.tracing_sdk import SET_UP, WORK

CONSUMER = Consumer(
    "mail", callback=WORK, middleware=[{"use": "tracing", "setup": SET_UP}], max_runs=1
)


def spans(journal: Journal, name: str) -> list[dict[str, Any]]:
    return [line for line in journal.lines("span") if line["name"] == name]


def test_run_is_traced_from_its_put_and_exported_before_the_exit(
    supervise: Supervise,
    database_url: str,
    journal: Journal,
    admin: Admin,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    here = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(here))
    monkeypatch.setattr(
        "opentelemetry.trace.get_tracer", lambda *of, **options: provider.get_tracer(*of, **options)
    )
    with supervise(CONSUMER), Publisher(database_url, consumers=[CONSUMER]) as publisher:
        with provider.get_tracer("request").start_as_current_span("request"):
            first = publisher.put("mail", {})
            second, third = publisher.put_many(
                "mail", [{}, {"do": "raise"}], headers={"mine": "kept"}
            )
        eventually(lambda: [count.state for count in admin.counts()] == [State.REJECTED])
    sent = [span for span in here.get_finished_spans() if span.name == "send mail"]
    request = next(span for span in here.get_finished_spans() if span.name == "request")
    assert [span.kind for span in sent] == [SpanKind.PRODUCER] * 3
    assert sent[0].attributes is not None
    assert sent[0].attributes["messaging.message.id"] == str(first)
    runs = sorted(
        spans(journal, "process mail"),
        key=lambda span: int(span["attributes"]["messaging.message.id"]),
    )
    assert [int(run["attributes"]["messaging.message.id"]) for run in runs] == [
        first,
        second,
        third,
    ]
    assert {run["trace"] for run in runs} == {f"{request.context.trace_id:032x}"}
    assert [run["parent"] for run in runs] == [f"{span.context.span_id:016x}" for span in sent]
    assert [(run["kind"], run["status"]) for run in runs] == [("CONSUMER", "UNSET")] * 2 + [
        ("CONSUMER", "ERROR")
    ]
    inner = spans(journal, "inner")
    assert {span["parent"] for span in inner} == {run["span"] for run in runs}


def test_odd_headers_do_not_fail_the_run() -> None:
    with tracing() as middleware:
        handler = middleware(lambda job: ACK)
        odd: list[Any] = [
            None,
            {},
            [1],
            "x",
            {"traceparent": 7, "baggage": ["x"]},
            {"traceparent": "nonsense"},
        ]
        for headers in odd:
            assert handler(make_job({}, headers=headers)) == ACK
