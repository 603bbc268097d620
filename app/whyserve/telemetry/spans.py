"""Tracer of OpenTelemetry, by its own SDK: needs the extra `otel`, and is imported only where traces are wanted.

What is sent where, how it is sampled and what it is called, the SDK reads from the environment, OTEL_*.
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
# What a process that stops gives to sending what it has; a collector that is down must not hold it up.
FLUSH_S = 2.0


class Tracer:
    """Of one process. The provider is its own and not the global one: no library adds spans by itself."""

    def __init__(self, role: str) -> None:
        """role: api or worker; it names the service, where the environment does not."""
        named = {} if os.environ.get("OTEL_SERVICE_NAME") else {SERVICE_NAME: f"{NAME}-{role}"}
        self._processor = BatchSpanProcessor(OTLPSpanExporter())
        provider = TracerProvider(resource=Resource.create(named), shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer(NAME)

    @contextmanager
    def request(self, name: str, traceparent: str | None) -> Iterator[Span]:
        """A request that another service made, whose span may be given."""
        with self._tracer.start_as_current_span(name, _context(traceparent), SpanKind.SERVER) as span:
            yield span

    @contextmanager
    def inside(self, name: str, attributes: Attributes) -> Iterator[Span]:
        """A part of what is being done."""
        with self._tracer.start_as_current_span(name, attributes=attributes) as span:
            yield span

    def traceparent(self) -> str | None:
        """Of the part that is being done, to hand on, in W3C's form."""
        carrier: dict[str, str] = {}
        PROPAGATOR.inject(carrier)
        return carrier.get("traceparent")

    def fail(self, span: Span, words: str) -> None:
        span.set_status(Status(StatusCode.ERROR, words))

    def add(
        self,
        name: str,
        traceparent: str | None,
        when: tuple[float, float],
        attributes: Attributes,
        *,
        error: str | None = None,
    ) -> None:
        """A part that is over, of what another process was asked. when: from and to, in seconds since the epoch."""
        # Of another machine's clock, the beginning may lie after the end.
        began, ended = min(when), when[1]
        span = self._tracer.start_span(
            name, _context(traceparent), SpanKind.CONSUMER, attributes, start_time=round(1e9 * began)
        )
        if error is not None:
            self.fail(span, error)
        span.end(round(1e9 * ended))

    def close(self) -> None:
        """Send what there is, if that does not take long."""
        sending = threading.Thread(target=self._processor.shutdown, name="spans", daemon=True)
        sending.start()
        sending.join(FLUSH_S)


def _context(traceparent: str | None) -> context.Context | None:
    """None, and the span begins a trace, where there is no parent, or it is none."""
    return PROPAGATOR.extract({"traceparent": traceparent}) if traceparent else None
