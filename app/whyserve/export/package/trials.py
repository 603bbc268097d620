"""Run a network on its background. Only a run shows which types of numbers a torch network takes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.package.background import identifier, read_background
from whyserve.export.package.faults import check_table, network_failed
from whyserve.model.rows import Arrays

MOST_ROWS = 100
# As a share of the output's scale. It is far above rounding and far below the effect of another row.
ROW_BOUND = 1e-3
# As a share of the output's scale: the same rows in the same batch differ by the order of sums at most.
SAME_BOUND = 1e-5
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
    read: Callable[..., tuple[Arrays, dict[str, Any]]] = read_background,
) -> Tried:
    """Read a background and run the network on it. most: the number of rows to keep, drawn at random; None for all.

    read: reads the background for a network with layers of `preprocess` in front.

    Raises InvalidInput, ModelFault.
    """
    dtypes = getattr(network, "dtypes", None)
    integer = {n: "int" in d for n, d in zip(network.names, dtypes, strict=True)} if dtypes else {}
    categories = _with_stated(network, given, categories)
    faults: list[Exception] = []
    for guess in [integer] if dtypes else _integer_inputs(network.names):
        try:
            arrays, columns = read(given, network.names, guess, categories)
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
        check_table(table, len(kept), _first_row(network, arrays))
        _check_is_not_random(network, arrays, table)
        _check_rows_are_independent(network, arrays, table)
        notes = (f"the background is {most} of the {rows} given rows, drawn at random",) if len(kept) < rows else ()
        return Tried(arrays, columns, table, kept, notes)
    # An error of the network says more than a background that some wrong guess could not read.
    raised = [fault for fault in faults if not isinstance(fault, InvalidInput)]
    if not raised:
        raise faults[0]
    raise InvalidInput(network_failed(raised[-1], network, arrays)) from raised[-1]


def _with_stated(network: Any, given: Any, categories: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
    """The categories by column, with those that the network states itself. Raises InvalidInput if they differ."""
    known: Mapping[str, Sequence[str]] = getattr(network, "categories", {})
    frames = list(given.values()) if isinstance(given, Mapping) else [given]
    columns = [str(column) for frame in frames for column in getattr(frame, "columns", ())]
    stated = {column: known[identifier(column)] for column in columns if identifier(column) in known}
    for column, order in stated.items():
        if list(categories.get(column, order)) != list(order):
            raise InvalidInput(
                f'categories of "{column}" differ from those in the model, which are {", ".join(order)}; leave them out'
            )
    return {**categories, **stated}


def _first_row(network: Any, arrays: Arrays) -> Callable[[], Any]:
    return lambda: network.run({name: array[:1] for name, array in arrays.items()})


def _integer_inputs(names: Sequence[str]) -> list[dict[str, bool]]:
    """Guesses of which inputs of a torch network take integers: none first, then each combination."""
    tried = range(1 << min(len(names), MOST_TRIED_INPUTS))
    return [{n: bool(number >> i & 1) for i, n in enumerate(names)} for number in tried]


def _check_is_not_random(network: Any, arrays: Arrays, table: np.ndarray) -> None:
    """Raises ModelFault if the same rows give other outputs in a second run."""
    gap = np.abs(np.asarray(network.run(arrays)) - table).max(initial=0)
    if np.isfinite(gap) and gap > SAME_BOUND * np.abs(table).max(initial=0):
        raise ModelFault(
            "the network is random: the same rows give other outputs in a second run; remove the random numbers from"
            " its forward pass, such as dropout that stays on (write F.dropout(x, p, self.training)), torch.rand, or a"
            " sampled latent (use its mean)"
        )


def _check_rows_are_independent(network: Any, arrays: Arrays, table: np.ndarray) -> None:
    """Raises ModelFault if the output of the first row changes without the other rows."""
    first = {name: array[:1] for name, array in arrays.items()}
    with np.errstate(invalid="ignore"):  # infinite outputs have a message of their own
        gap = np.abs(np.asarray(network.run(first)) - table[:1]).max(initial=0)
    scale = np.abs(table).max(initial=0)
    if np.isfinite(scale) and gap > ROW_BOUND * scale:
        raise ModelFault(
            "the network's output for a row depends on the other rows of the batch; each row must be computed by itself"
            " (keep statistics of the training data in the weights, as BatchNorm does in eval mode)"
        )


def _cast(name: str, array: np.ndarray, integer: bool, network: Any) -> np.ndarray:
    if hasattr(network, "dtypes"):
        position = network.names.index(name)
        needed = network.shapes[position]
        fits = len(needed) == array.ndim - 1 and all(
            n in {None, m} for n, m in zip(needed, array.shape[1:], strict=True)
        )
        if not fits:
            raise InvalidInput(
                f'a row of the background of input "{name}" has shape {array.shape[1:]}; the network takes {needed}'
            )
        return array.astype(network.dtypes[position])
    if integer:
        if array.dtype.kind not in "iub":
            raise InvalidInput(f'the network takes integers in input "{name}"; its background has {array.dtype}')
        return array.astype(np.int64)
    return array.astype(network.dtype)
