"""An OpenTelemetry SDK whose spans are noted in the journal."""

from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from taskmaster import Job
from tests.support.journal import note

SET_UP = "tests.support.tracing_sdk:set_up"
WORK = "tests.support.tracing_sdk:work"


class ToJournal(SpanExporter):
    """Notes each span that ended."""

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
    """With a thread that exports, as users have it: long after the job, unless it is flushed."""
    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(ToJournal(), schedule_delay_millis=600_000))
    trace.set_tracer_provider(provider)


def work(job: Job) -> None:
    """Do something in a span of one's own; raise when the payload says so."""
    with trace.get_tracer("mine").start_as_current_span("inner"):
        if job.payload.get("do") == "raise":
            raise ValueError("no")
