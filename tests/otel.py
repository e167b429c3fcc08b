"""What OpenTelemetry was told, kept in memory."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from rar.integrations.otel import OpenTelemetry


class Telemetry:
    """Providers of the real SDK, with exporters that keep what they get."""

    def __init__(self, **options: Any) -> None:
        self._spans, self._events = InMemorySpanExporter(), InMemoryLogRecordExporter()
        self.provider, self.events_provider = TracerProvider(), LoggerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._spans))
        self.events_provider.add_log_record_processor(SimpleLogRecordProcessor(self._events))
        self.observer = OpenTelemetry(tracer_provider=self.provider, logger_provider=self.events_provider, **options)

    def close(self) -> None:
        self.provider.shutdown()
        self.events_provider.shutdown()

    @property
    def spans(self) -> list[ReadableSpan]:
        self.observer.flush()
        return list(self._spans.get_finished_spans())

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.spans if span.name == name]

    @property
    def events(self) -> list[Any]:
        self.observer.flush()
        return [kept.log_record for kept in self._events.get_finished_logs()]

    @property
    def told(self) -> str:
        """All of it, as text."""
        events = [f"{event.event_name} {event.body} {dict(event.attributes or {})}" for event in self.events]
        return "\n".join([*(span.to_json() for span in self.spans), *events])


def attributes(span: Any) -> dict[str, Any]:
    return dict(span.attributes or {})
