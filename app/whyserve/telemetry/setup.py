"""Start tracing if the environment names a collector and the extra `otel` is installed."""

import logging
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer

log = logging.getLogger("whyserve.traces")

PROTOCOL = "http/protobuf"


def open_tracer(role: str) -> "Tracer | None":
    """A tracer, or None without tracing. Logs one warning if OTEL_* asks for something unsupported."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    if is_off or os.environ.get("OTEL_TRACES_EXPORTER", "").strip().lower() not in ("", "otlp"):
        return None
    if not _variable("ENDPOINT"):
        return None
    if (protocol := _variable("PROTOCOL") or PROTOCOL) != PROTOCOL:
        log.warning("no traces: OTEL_EXPORTER_OTLP_PROTOCOL is %s; set it to %s", protocol, PROTOCOL)
        return None
    try:
        from whyserve.telemetry.spans import Tracer  # noqa: PLC0415  # its imports need the extra otel
    except ImportError:
        log.warning("no traces: OTEL_EXPORTER_OTLP_ENDPOINT is set; install the extra otel")
        return None
    return Tracer(role)


def _variable(name: str) -> str | None:
    return os.environ.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or os.environ.get(f"OTEL_EXPORTER_OTLP_{name}")
