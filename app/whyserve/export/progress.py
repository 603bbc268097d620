"""The steps of an export, shown while it runs: on a terminal or in a notebook, to stderr, and nowhere else."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

MARK = "\x1e"  # begins a line of a stage's output that is a step
STEPS = "WHYSERVE_EXPORT_STEPS"  # set for the process of a stage whose steps are shown
_shown = False


def step(text: str) -> None:
    """Say what begins now, such as "comparing 243 rows"."""
    if STEPS in os.environ:
        _write(sys.stdout, f"{MARK}{text}\n")
    elif _shown:
        _write(sys.stderr, f"\r\x1b[K{text} …")


@contextmanager
def steps_shown() -> Iterator[None]:
    """Show the steps of this block, if somebody can see them. The line is removed at the end."""
    global _shown  # noqa: PLW0603
    before = _shown
    _shown = sys.stderr.isatty() or "ipykernel" in sys.modules
    try:
        yield
    finally:
        if _shown and not before:
            _write(sys.stderr, "\r\x1b[K")
        _shown = before


def is_shown() -> bool:
    return _shown


def _write(stream: TextIO, text: str) -> None:
    stream.write(text)
    stream.flush()
