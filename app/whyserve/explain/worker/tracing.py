"""What is traced of the worker, where traces are wanted: how long each job waited, and how long it took."""

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
    **more: str | int,
) -> None:
    """A span in the trace of the request that a job is of. when: from and to, in seconds since the epoch."""
    if spans is None:
        return
    job = lease.job
    about = {"job": job.id, "model": job.model, "rows": len(job.outputs), **more}
    spans.add(
        name, lease.job.traceparent, when, {f"whyserve.{key}": value for key, value in about.items()}, error=error
    )
