"""The file of the worker's health check."""

from pathlib import Path

from whyserve.errors import ConfigurationError


class Heartbeat:
    """Touches the file when it is called: after each answer of the queue, and between the chunks of a computation.

    The threads that renew leases do not call it: they go on even when the computing thread hangs.
    """

    def __init__(self, file: Path) -> None:
        """Raises ConfigurationError if the file cannot be written."""
        self._file = file
        try:
            self._file.unlink(missing_ok=True)
            self._file.touch()
            self._file.unlink()
        except OSError as error:
            raise ConfigurationError(
                f"WHYSERVE_HEALTH_FILE: cannot write {file}: {error.strerror}; name another file"
            ) from error

    def __call__(self) -> None:
        self._file.touch()
