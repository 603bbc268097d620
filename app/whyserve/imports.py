"""Imports of large libraries, such as PyTorch and Keras."""

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def importing() -> Iterator[None]:
    """Import without garbage collections.

    Imports create hundreds of thousands of objects and hardly any garbage. The collections that visit these objects
    take a fifth of the processor time of importing Keras on PyTorch.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def leave_out_imported() -> None:
    """Let no later collection visit the objects that exist now, and the last ones of Python no object at all."""
    gc.freeze()
    atexit.register(gc.freeze)
