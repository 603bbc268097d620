"""The progress bar of a computation in a notebook."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

AFTER_S = 1.0  # a shorter computation shows no bar


@contextmanager
def progress_bar(show: bool) -> Iterator[Callable[[float], bool]]:
    """Yields a function that takes the share done and returns True, as Limits.on_progress needs it."""
    with tqdm(total=1.0, delay=AFTER_S, disable=None if show else True, leave=False) as bar:
        bar.bar_format = "explaining {percentage:3.0f} % |{bar}| {elapsed} < {remaining}"

        def on_progress(share: float) -> bool:
            bar.update(share - bar.n)
            return True

        yield on_progress
