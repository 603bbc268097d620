"""A tracer on OpenTelemetry's SDK. Needs the extra `otel`; imported only if tracing is enabled.

The SDK reads the collector's address, the sampling and the service's name from the environment, OTEL_*.
"""

import os
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

Attributes = Mapping[str, str | int | float]
PROPAGATOR = TraceContextTextMapPropagator()
NAME = "whyserve"
# At shutdown, unsent spans get this long. A collector that is down must not delay the shutdown.
FLUSH_S = 2.0


class Tracer:
    """One per process. Its provider is not the global one, so that libraries add no spans of their own."""

    def __init__(self, role: str) -> None:
        """role: api or worker; part of the service's name, unless the environment names the service."""
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: f"{NAME}-{role}"}
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(NAME)

    @contextmanager
    def request(self, name: str, traceparent: str | None) -> Iterator[Span]:
        """The span of a request. traceparent: the caller's span, if known."""
        with self._tracer.start_as_current_span(name, _context(traceparent), SpanKind.SERVER) as span:
            yield span

    @contextmanager
    def inside(self, name: str, attributes: Attributes) -> Iterator[Span]:
        """A child of the current span."""
        with self._tracer.start_as_current_span(name, attributes=attributes) as span:
            yield span

    def traceparent(self) -> str | None:
        """The current span in W3C's form, to pass on."""
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier)
        return carrier.get("traceparent")

    def fail(self, span: Span, message: str) -> None:
        span.set_status(Status(StatusCode.ERROR, message))

    def add(
        self,
        name: str,
        traceparent: str | None,
        when: tuple[float, float],
        attributes: Attributes,
        *,
        error: str | None = None,
    ) -> None:
        """Add a finished span to another process's trace. when: start and end, in seconds since the epoch."""
        # The start may come from another machine's clock, and then lie after the end.
        began, ended = min(when), when[1]
        span = self._tracer.start_span(
            name, _context(traceparent), SpanKind.CONSUMER, attributes, start_time=round(1e9 * began)
        )
        if error is not None:
            self.fail(span, error)
        span.end(round(1e9 * ended))

    def close(self) -> None:
        """Send the remaining spans, within FLUSH_S."""
        sending = threading.Thread(target=self._processor.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(FLUSH_S)


def _context(traceparent: str | None) -> context.Context | None:
    """The parent's context. None starts a new trace."""
    return PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
