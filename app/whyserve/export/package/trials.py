"""Run a network on its background. Only a run shows which types of numbers a torch network takes."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from types import MappingProxyType
from typing import Any, get_args

import numpy as np

from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.comparison import largest_gap
from whyserve.export.package.background import identifier, read_background
from whyserve.export.package.faults import check_table, network_failed
from whyserve.export.package.ids import Whole, find_ids
from whyserve.model.input_spec import DType
from whyserve.model.rows import Arrays, row_count

MOST_ROWS = 100
# As a share of the output's scale. It is far above rounding and far below the effect of another row.
ROW_BOUND = 1e-3
# As a share of the output's scale: the same rows in the same batch differ by the order of sums at most.
SAME_BOUND = 1e-5
# With many inputs, the combinations of dtypes would be too many to try. Each try runs the network.
MOST_TRIED = 64
# Messages of torch about a wrong dtype.
OF_TYPES = re.compile(r"dtype|scalar type|\b(Long|Int|Float|Double|Bool|Char|Byte)(Tensor)?\b|not implemented for")


@dataclass(frozen=True, slots=True)
class Tried:
    """A background that the network takes.

    network: the given network, or one that takes ids as integers instead of floating-point numbers.
    arrays: its rows in the dtypes of the network, by input, (rows, …). kept: their places in the given background.
    columns: the features of each input that came as a DataFrame. whole: columns that the network casts to integers.
    table: the output, (rows, outputs). notes: for people.
    """

    network: Any
    arrays: Arrays
    columns: dict[str, Any]
    whole: Whole
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
    categories = _with_stated(network, given, categories)
    faults: list[Exception] = []
    for integer in _readings(network, given):
        try:
            arrays, columns = read(given, network.names, integer, categories)
        except InvalidInput as error:
            faults.append(error)
            continue
        rows = row_count(arrays)
        kept = np.sort(np.random.default_rng(0).permutation(rows)[:most])
        for dtypes in _choices(network, arrays, integer):
            try:
                cast = {name: _cast(name, arrays[name][kept], dtype) for name, dtype in dtypes.items()}
                table = network.run(cast)
            except ModelFault:
                raise
            except Exception as error:
                faults.append(error)
                continue
            alone = check_table(network.run, cast, table)
            _check_values(table, network.run(cast), alone)
            network, cast, whole = find_ids(network, cast, table)
            notes = (f"the background is {most} of the {rows} given rows, drawn at random",) if len(kept) < rows else ()
            return Tried(network, cast, columns, whole, table.reshape(len(kept), -1), kept, notes)
    # An error of the network says more than a background that some wrong reading could not read, and an error about
    # values says more than one about the types of a wrong choice.
    raised = [fault for fault in faults if not isinstance(fault, InvalidInput)]
    if not raised:
        raise faults[0]
    fault = next((each for each in raised if not OF_TYPES.search(str(each))), raised[0])
    needs = "".join(
        f'; missing=True needs room for the code {len(feature["categories"])} of column "{feature["name"]}"'
        for features in columns.values()
        for feature in features
        if "categories" in feature and feature.get("missing") is True
    )
    raise InvalidInput(network_failed(fault, network, arrays) + needs) from fault


def _readings(network: Any, given: Any) -> list[dict[str, bool]]:
    """Guesses of which inputs take integers. They only matter for one DataFrame that is split between two inputs."""
    names, dtypes = network.names, getattr(network, "dtypes", None)
    if dtypes:
        return [{name: "int" in dtype for name, dtype in zip(names, dtypes, strict=True)}]
    split = len(names) == 2 and not isinstance(given, Mapping)
    return [{each: each == name for each in names} for name in names] if split else [{}]


def _choices(network: Any, arrays: Arrays, integer: Mapping[str, bool]) -> Iterator[dict[str, str]]:
    """The dtypes to try, by input: those that the network states, or each combination, the types as given first."""
    stated = dict(zip(network.names, getattr(network, "dtypes", ()), strict=False))
    for name, shape in zip(network.names, network.shapes, strict=True) if stated else ():
        found = arrays[name].shape[1:]
        if len(found) != len(shape) or any(n not in {None, m} for n, m in zip(shape, found, strict=True)):
            raise InvalidInput(
                f'a row of the background of input "{name}" has shape {found}; the network takes {shape}'
            )
    by_input = [
        [stated[name]] if stated else _dtypes(arrays[name], network.dtype, integer=integer.get(name, False))
        for name in network.names
    ]
    for choice in islice(product(*by_input), MOST_TRIED):
        yield dict(zip(network.names, choice, strict=True))


def _dtypes(array: np.ndarray, floating: str, *, integer: bool) -> list[str]:
    """The dtypes to try for one input of a torch network. floating: that of its weights. integer: integers only.

    Integers come before floating point: a network that converts its input takes both, and invented numbers between
    integers, or far outside, have no meaning for it.
    """
    kind = array.dtype.kind
    if kind == "f" and not np.array_equal(array, np.rint(array)):  # NaN too
        return [floating]
    if kind == "f":
        return ["int64"] if integer else [floating, "int64"]
    own = [str(array.dtype)] if str(array.dtype) in get_args(DType) else []
    return list(dict.fromkeys([*own, "int64", *([] if integer else [floating])]))


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


def _check_values(table: np.ndarray, again: np.ndarray, alone: np.ndarray) -> None:
    """Raises ModelFault if a second run, or a run of the first row alone, gives other outputs."""
    if not np.isfinite(table).all():
        return  # describe_output refuses the table and names the row
    if largest_gap(again, table)[0] > SAME_BOUND:
        raise ModelFault(
            "the network is random: the same rows give other outputs in a second run; remove the random numbers from"
            " its forward pass, such as dropout that stays on (write F.dropout(x, p, self.training)), torch.rand, or a"
            " sampled latent (use its mean)"
        )
    if largest_gap(np.concatenate([alone, table[1:]]), table)[0] > ROW_BOUND:
        raise ModelFault(
            "the network's output for a row depends on the other rows of the batch; each row must be computed by itself"
            " (keep statistics of the training data in the weights, as BatchNorm does in eval mode)"
        )


def _cast(name: str, array: np.ndarray, dtype: str) -> np.ndarray:
    cast = array.astype(dtype)
    if cast.dtype.kind != "f" and not np.array_equal(cast, array):
        raise InvalidInput(
            f'the network takes {dtype} in input "{name}"; its background has {array.dtype} values that are no {dtype}'
        )
    return cast
