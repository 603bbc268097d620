"""The file of the worker's health check, touched after each answer of the queue."""

from collections.abc import Sequence
from pathlib import Path

from whyserve.errors import ConfigurationError
from whyserve.jobs import ExplainJob, JobError, JobMetrics, Lease
from whyserve.queue_protocols import JobSource


class Heartbeat:
    """A JobSource that forwards to another one and touches the file.

    renew() does not touch it: a thread of its own calls renew(), even when the computing thread hangs.
    """

    def __init__(self, source: JobSource, file: Path) -> None:
        """Raises ConfigurationError if the file cannot be written."""
        self._source, self._file = source, file
        try:
            self._file.unlink(missing_ok=True)
            self._file.touch()
            self._file.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"WHYSERVE_HEALTH_FILE: cannot write {file}: {error.strerror}; name another file"
            ) from error

    def announce(self, digests: Sequence[str]) -> None:
        self._source.announce(digests)
        self._file.touch()

    def take(self, limit: int, timeout_s: float, *, summaries: bool = True) -> list[Lease]:
        leases = self._source.take(limit, timeout_s, summaries=summaries)
        self._file.touch()
        return leases

    def report(self, leases: Sequence[Lease], progress: float, error: float | None = None) -> list[bool]:
        valid = self._source.report(leases, progress, error)
        self._file.touch()
        return valid

    def finish(self, lease: Lease, result: bytes, metrics: JobMetrics | None = None) -> bool:
        return self._source.finish(lease, result, metrics)

    def fail(self, lease: Lease, error: JobError) -> bool:
        return self._source.fail(lease, error)

    def adopt(self, job: ExplainJob) -> Lease:
        return self._source.adopt(job)

    def fileno(self) -> int:
        return self._source.fileno()

    def renew(self) -> None:
        self._source.renew()

    def close(self) -> None:
        self._source.close()
