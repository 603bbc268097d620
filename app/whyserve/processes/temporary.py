"""The folder of temporary files, checked before a process accepts anything."""

import os
import tempfile

from whyserve.errors import ConfigurationError

NEEDED_BYTES = 1 << 20


def check_temporary_folder() -> None:
    """Raises ConfigurationError if the folder of temporary files is missing or full."""
    wanted = next((os.environ[name] for name in ("TMPDIR", "TEMP", "TMP") if os.environ.get(name)), None)
    try:
        # Python takes another folder without a word if TMPDIR is missing.
        with tempfile.TemporaryFile(dir=wanted) as file:
            file.write(bytes(NEEDED_BYTES))
    except OSError as error:
        where = wanted or "no folder such as /tmp"
        raise ConfigurationError(
            f"TMPDIR: {where} cannot hold temporary files: {error.strerror or error}; make space, or set another folder"
        ) from error
