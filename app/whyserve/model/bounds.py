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
        # By input: the columns with a range, their names and ranges, both ends of all ranges, and what stands for a
        # missing value.
        self._inputs: list[tuple[str, list[int], list[tuple[str, float, float]], np.ndarray, np.ndarray]] = []
        for item in spec.inputs:
            found = [
                (column, (feature.name, *(feature.range or _widened(background[feature.name]))))
                for column, feature in enumerate(item.features)
                if feature.range is not None or feature.name in background
            ]
            if found:
                columns, named = map(list, zip(*found, strict=True))
                # In the input's own type, so that a value equal to an end is within the range.
                ends = np.array([ends for _, *ends in named], item.dtype if item.is_float else np.float64).T
                markers = np.array([item.marker(item.features[column]) for column in columns], np.float64)
                self._inputs.append((item.name, columns, named, ends, markers))

    def outside(self, arrays: Arrays) -> list[list[dict[str, Any]]]:
        """For each row the features out of range: {"feature", "value", "low", "high"}. arrays: (rows, *shape)."""
        found: list[list[dict[str, Any]]] = [[] for _ in next(iter(arrays.values()))]
        for name, columns, named, ends, markers in self._inputs:
            values = arrays[name][:, columns]
            beyond = (values < ends[0]) | (values > ends[1])
            for row, at in np.argwhere(beyond & (values != markers)) if beyond.any() else ():
                feature, low, high = named[at]
                found[row].append({"feature": feature, "value": values[row, at].item(), "low": low, "high": high})
        return found


def _widened(ends: tuple[float, float]) -> tuple[float, float]:
    wide = WIDENED * (ends[1] - ends[0])
    return ends[0] - wide, ends[1] + wide
