"""Callbacks with spans, and an OpenTelemetry SDK that writes all spans to the journal."""

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from taskmaster import Job
from tests.support.journal import note

SET_UP = "tests.support.tracing_sdk:set_up"
WORK = "tests.support.tracing_sdk:work"


class JournalExporter(SpanExporter):
    """Writes each ended span to the journal."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            assert span.context is not None
            note(
                "span",
                name=span.name,
                kind=span.kind.name,
                trace=f"{span.context.trace_id:032x}",
                span=f"{span.context.span_id:016x}",
                parent=None if span.parent is None else f"{span.parent.span_id:016x}",
                attributes=dict(span.attributes or {}),
                status=span.status.status_code.name,
            )
        return SpanExportResult.SUCCESS


def set_up() -> None:
    """Export by a thread as users do, long after the job unless it is flushed."""
    provider = TracerProvider()
    provider.add_span_processor(
        BatchSpanProcessor(JournalExporter(), schedule_delay_millis=600_000)
    )
    trace.set_tracer_provider(provider)


def work(job: Job) -> None:
    """Do something in a span of its own. Raise if the payload says so."""
    with trace.get_tracer("mine").start_as_current_span("inner"):
        if job.payload.get("do") == "raise":
            raise ValueError("no")
