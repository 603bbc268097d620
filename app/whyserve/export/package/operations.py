"""The operations of a framework that code for both frameworks calls, on tensors of torch or symbolic ones of Keras."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Operations:
    """The operations of one framework. channels_last: whether the channels of a map are its last axis.

    take, join: of the last axis. flatten: from an axis on. column: (rows,) → (rows, 1). lookup: rows of a table by
    their numbers, (rows,). clip, fill: with bounds, or with numbers in place of NaN, for each column.
    """

    channels_last: bool
    tensor: type
    constant: Callable[[np.ndarray], Any]
    reduce: Callable[[str, Any, tuple[int, ...]], Any]
    transpose: Callable[[Any, tuple[int, ...]], Any]
    flatten: Callable[[Any, int], Any]
    take: Callable[[Any, list[int]], Any]
    column: Callable[[Any], Any]
    cast: Callable[[Any, Any], Any]
    join: Callable[[list[Any]], Any]
    lookup: Callable[[np.ndarray, Any], Any]
    clip: Callable[[Any, Any, Any], Any]
    fill: Callable[[Any, Any], Any]
