"""Whether this process traces what it does: where the environment says to which collector, and the extra is there."""

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.traces")

PROTOCOL = "http/protobuf"


def open_tracer(role: str) -> "Tracer | None":
    """None where nothing is traced. What OTEL_* names and cannot be done is said once."""
    if not _wanted():
        return None
    if (protocol := _of_traces("PROTOCOL") or PROTOCOL) != PROTOCOL:
        log.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL is %s, and %s is what is spoken here", protocol, PROTOCOL)
        return None
    try:
        from whyserve.telemetry.spans import Tracer  # noqa: PLC0415  # not every installation has what it imports
    except ImportError:
        log.warning("no traces: OTEL_EXPORTER_OTLP_ENDPOINT is set, and the extra otel is not installed")
        return None
    return Tracer(role)


def _wanted() -> bool:
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return False
    if os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() not in ("", "otlp"):
        return False
    return bool(_of_traces("ENDPOINT"))


def _of_traces(what: str) -> str | None:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{what}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{what}")
