"""A sign of life for the worker's health check: a file that is touched whenever the queue has answered."""

from collections.abc import Sequence
from pathlib import Path

from whyserve.errors import ConfigurationError
from whyserve.jobs import JobError, JobMetrics, Lease
from whyserve.queue_protocols import JobSource


class Heartbeat:
    """A JobSource in front of another.

    Renewing leases is no sign of life: a thread of its own does that, and goes on when the work hangs.
    """

    def __init__(self, source: JobSource, file: Path) -> None:
        """Raises ConfigurationError where the file cannot be written."""
        self._source, self._file = source, file
        try:
            self._file.unlink(missing_ok=True)
            self._file.touch()
            self._file.unlink()
        except OSError as error:
            raise ConfigurationError(f"WHYSERVE_HEALTH_FILE: {file}: {error.strerror}") from error

    def announce(self, digests: Sequence[str]) -> None:
        self._source.announce(digests)
        self._file.touch()

    def take(self, limit: int, timeout_s: float, *, summaries: bool = True) -> list[Lease]:
        leases = self._source.take(limit, timeout_s, summaries=summaries)
        self._file.touch()
        return leases

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        held = self._source.report(leases, progress, error)
        self._file.touch()
        return held

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._source.finish(lease, result, metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._source.fail(lease, error)

    def renew(self) -> None:
        self._source.renew()

    def close(self) -> None:
        self._source.close()
