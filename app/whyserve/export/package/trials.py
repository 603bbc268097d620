"""Run a network on its background. Only a run shows which types of numbers a torch network takes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.export.package.background import read_background
from whyserve.model.rows import Arrays

MOST_ROWS = 100
# As a share of the output's scale. It is far above rounding and far below the effect of another row.
ROW_BOUND = 1e-3
# With more inputs, the combinations of integer inputs would be too many to try. Each try runs the network.
MOST_TRIED_INPUTS = 6


@dataclass(frozen=True, slots=True)
class Tried:
    """A background that the network takes.

    arrays: its rows in the dtypes of the network, by input, (rows, …). kept: their places in the given background.
    columns: the features of each input that came as a DataFrame. table: the output, (rows,) or (rows, outputs).
    notes: for people.
    """

    arrays: Arrays
    columns: dict[str, Any]
    table: np.ndarray
    kept: np.ndarray
    notes: tuple[str, ...]


def try_background(
    network: Any,
    given: Any,
    most: int | None = MOST_ROWS,
    categories: Mapping[str, Sequence[str]] = MappingProxyType({}),
) -> Tried:
    """Read a background and run the network on it. most: the number of rows to keep, drawn at random; None for all.

    Raises InvalidInput, ModelFault.
    """
    dtypes = getattr(network, "dtypes", None)
    integer = {n: "int" in d for n, d in zip(network.names, dtypes, strict=True)} if dtypes else {}
    faults: list[Exception] = []
    for guess in [integer] if dtypes else _integer_inputs(network.names):
        try:
            arrays, columns = read_background(given, network.names, guess, categories)
        except InvalidInput as error:
            faults.append(error)
            continue
        rows = len(next(iter(arrays.values())))
        kept = np.sort(np.random.default_rng(0).permutation(rows)[:most])
        try:
            arrays = {n: _cast(n, a[kept], guess.get(n, False), network) for n, a in arrays.items()}
            table = network.run(arrays)
        except ModelFault:
            raise
        except Exception as error:
            faults.append(error)
            continue
        _check_rows_are_independent(network, arrays, table)
        notes = (f"the background is {most} of the {rows} given rows, drawn at random",) if len(kept) < rows else ()
        return Tried(arrays, columns, table, kept, notes)
    # An error of the network says more than a background that some wrong guess could not read.
    raised = [fault for fault in faults if not isinstance(fault, InvalidInput)]
    if not raised:
        raise faults[0]
    raise InvalidInput(f"the network fails on the background: {_message(raised[0])}") from raised[0]


def _message(error: Exception) -> str:
    """The message of a framework. A message of Keras starts with the place of the call; the cause comes later."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line for line in plain.splitlines() if line.strip() and not line.startswith("Exception encountered")]
    return lines[0] if lines else first_line(error)


def _integer_inputs(names: Sequence[str]) -> list[dict[str, bool]]:
    """Guesses of which inputs of a torch network take integers: none first, then each combination."""
    tried = range(1 << min(len(names), MOST_TRIED_INPUTS))
    return [{n: bool(number >> i & 1) for i, n in enumerate(names)} for number in tried]


def _check_rows_are_independent(network: Any, arrays: Arrays, table: np.ndarray) -> None:
    """Raises ModelFault if the output of the first row changes without the other rows."""
    first = {name: array[:1] for name, array in arrays.items()}
    gap = np.abs(np.asarray(network.run(first)) - table[:1]).max(initial=0)
    scale = np.abs(table).max(initial=0)
    if np.isfinite(scale) and gap > ROW_BOUND * scale:
        raise ModelFault(
            "the network's output for a row depends on the other rows of the batch; each row must be computed by itself"
            " (keep statistics of the training data in the weights, as BatchNorm does in eval mode)"
        )


def _cast(name: str, array: np.ndarray, integer: bool, network: Any) -> np.ndarray:
    if getattr(network, "dtypes", ()):
        position = network.names.index(name)
        needed = network.shapes[position]
        if array.shape[1:] != needed:
            raise InvalidInput(
                f'a row of the background of input "{name}" has shape {array.shape[1:]}; the network takes {needed}'
            )
        return array.astype(network.dtypes[position])
    if integer:
        if array.dtype.kind not in "iub":
            raise InvalidInput(f'the network takes integers in input "{name}"; its background has {array.dtype}')
        return array.astype(np.int64)
    return array.astype(network.dtype)
