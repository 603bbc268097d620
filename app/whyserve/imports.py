"""Imports of large libraries, such as PyTorch and Keras."""

import atexit
import gc
import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager


@contextmanager
def importing(without: Collection[str] = ()) -> Iterator[None]:
    """Import without garbage collections. without: libraries that are not found meanwhile, in the main thread.

    Imports create hundreds of thousands of objects and hardly any garbage. The collections that visit these objects
    take a fifth of the processor time of importing Keras on PyTorch.
    """
    enabled = gc.isenabled()
    gc.disable()
    # Other threads would not find them either: such as one that loads a new model, while a computation imports shap.
    alone = threading.current_thread() is threading.main_thread()
    hidden = [name for name in without if alone and name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: not found
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
        if enabled:
            gc.enable()


def leave_out_imported() -> None:
    """Let no later collection visit the objects that exist now, and the last ones of Python no object at all."""
    gc.freeze()
    atexit.register(gc.freeze)
