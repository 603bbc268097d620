"""A small background that represents a large one, and the error that it causes in attributions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.export.package.background_error import ErrorTrial
from whyserve.export.package.clusters import representative_rows
from whyserve.export.package.network import as_served, network_of
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.trials import try_background


@dataclass(frozen=True, slots=True, repr=False)
class Medoids:
    """A chosen background. Its repr is one line.

    background: in the form of the background it was chosen from. chosen: (rows,), the indices of its rows there.
    total: the number of rows there.
    The next three are shares of the mean |attribution| with all rows, and None if measuring them takes too long:
    distance: the mean |difference| between attributions with the chosen background and with all rows.
    by_chance: the mean distance of backgrounds of the same size, drawn at random.
    noise: the standard error of the attributions with all rows, if they are sampled.
    tried: the number of rows that were explained to measure them.
    """

    background: Any
    chosen: np.ndarray
    total: int
    distance: float | None = None
    by_chance: float | None = None
    noise: float | None = None
    tried: int = 0

    def __repr__(self) -> str:
        size = f"{len(self.chosen)} of {self.total} rows"
        if self.distance is None:
            return f"{size}; the error of the attributions was not measured, because it takes too long"
        noise = f"; sampling error {self.noise:.2g}" if self.noise else ""
        return (
            f"{size}; attributions differ by {self.distance:.2g} of their mean size from those with all rows"
            f" (random rows: {self.by_chance:.2g}{noise}), measured on {self.tried} rows"
        )


def medoids(
    model: Any,
    background: Any,
    rows: int = 20,
    *,
    tried: int = 6,
    seed: int = 0,
    categories: Mapping[str, Sequence[str]] | None = None,
    output: Any = None,
    reduce: Any = None,
) -> Medoids:
    """Choose `rows` representative rows of a background by k-means, and measure the error on `tried` other rows.

    model, background, categories, output, reduce: as for `package`. Distances between rows use features scaled to
    standard deviation 1, and categories as one-hot columns. Raises InvalidInput, ModelFault.
    """
    network = network_of(model, background).with_output(OutputChoice(output, reduce))
    given = as_served(network, background, categories or {})
    tried_on = try_background(network, given, most=None, categories=categories or {})
    network, arrays, columns = tried_on.network, tried_on.arrays, tried_on.columns
    total = len(next(iter(arrays.values())))
    if not 1 <= rows < total:
        raise InvalidInput(f"rows is {rows}, but the background has {total} rows; choose from 1 to {total - 1}")
    chosen = representative_rows(arrays, columns, rows, seed)
    rest = np.setdiff1d(np.arange(total), chosen)
    explained = rest[np.linspace(0, len(rest) - 1, min(tried, len(rest))).astype(int)]
    errors = ErrorTrial(network, arrays, explained, seed).errors(chosen)
    return Medoids(_select(background, chosen, categories or {}), chosen, total, *errors, tried=len(explained))


def _select(background: Any, rows: np.ndarray, categories: Mapping[str, Sequence[str]]) -> Any:
    """These rows, in the form of the background. A column of text becomes a categorical with all of its categories."""
    if isinstance(background, Mapping):
        return {name: _select(each, rows, categories) for name, each in background.items()}
    if not hasattr(background, "iloc"):
        return np.asarray(background)[rows]
    import pandas as pd  # noqa: PLC0415  # the caller has it: the background is a DataFrame

    ordered = {name: pd.CategoricalDtype(list(order)) for name, order in categories.items() if name in background}
    return background.astype(ordered).iloc[rows]
