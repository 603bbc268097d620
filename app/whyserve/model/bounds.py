"""Which numbers of a row are outside the range that the model was compared with."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# Without a range in model.toml, a feature's range is the background's, widened by this part of it on each side.
WIDENED = 0.25


class Bounds:
    """The range of each numeric feature: `range` of model.toml, or the widened range of the background."""

    def __init__(self, spec: ModelSpec, background: Mapping[str, tuple[float, float]]) -> None:
        """background: minimum and maximum by feature, as in the manifest."""
        self._features: list[tuple[str, int, str, float, float]] = []
        for item in spec.inputs:
            for column, feature in enumerate(item.features):
                if feature.range is not None:
                    self._features.append((item.name, column, feature.name, *feature.range))
                elif feature.name in background:
                    low, high = background[feature.name]
                    wide = WIDENED * (high - low)
                    self._features.append((item.name, column, feature.name, low - wide, high + wide))

    def outside(self, arrays: Arrays) -> list[list[dict[str, Any]]]:
        """For each row the features out of range: {"feature", "value", "low", "high"}. arrays: (rows, *shape)."""
        found: list[list[dict[str, Any]]] = [[] for _ in next(iter(arrays.values()))]
        for name, column, feature, low, high in self._features:
            values = arrays[name][:, column]
            for row in np.flatnonzero((values < low) | (values > high)):
                outside = {"feature": feature, "value": values[row].item(), "low": low, "high": high}
                found[row].append(outside)
        return found
