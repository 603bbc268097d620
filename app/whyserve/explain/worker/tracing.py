"""Trace spans of a job: its wait in the queue, and its computation."""

from typing import TYPE_CHECKING

from whyserve.jobs import Lease

if TYPE_CHECKING:
    from whyserve.telemetry.spans import Tracer


def trace(
    spans: "Tracer | None",
    name: str,
    lease: Lease,
    when: tuple[float, float],
    error: str | None = None,
    **attributes: str | int,
) -> None:
    """Add a span to the trace of the job's request. when: begin and end, in seconds since the epoch."""
    if spans is None:
        return
    job = lease.job
    described = {"job": job.id, "model": job.model, "rows": len(job.outputs), **attributes}
    spans.add(name, job.traceparent, when, {f"whyserve.{key}": value for key, value in described.items()}, error=error)
