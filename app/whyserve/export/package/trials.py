"""A background, tried on the network that it is for: only running tells what a torch network takes."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.export.package.describe import read_background
from whyserve.model.rows import Arrays

MOST_ROWS = 100
ALONE = 1e-3  # of the output's scale: far above rounding, far below what another row would change


def try_background(
    network: Any, given: Any, most: int | None = MOST_ROWS
) -> tuple[Arrays, dict[str, Any], np.ndarray, tuple[str, ...]]:
    """Rows of the dtypes that the network takes, at most `most`, features by input, its answers to them, and notes.

    Raises InvalidInput, ModelFault.
    """
    dtypes = getattr(network, "dtypes", None)
    integer = {n: "int" in d for n, d in zip(network.names, dtypes, strict=True)} if dtypes else {}
    faults: list[Exception] = []
    # Whether a torch network wants whole numbers in an input shows only when it runs.
    for guess in [integer] if dtypes else _guesses(network.names):
        try:
            arrays, columns = read_background(given, network.names, guess)
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
        _check_alone(network, arrays, table)
        notes = (f"the background is {most} of the {rows} rows given",) if len(kept) < rows else ()
        return arrays, columns, table, notes
    ran = [fault for fault in faults if not isinstance(fault, InvalidInput)]
    if not ran:
        raise faults[0]
    raise InvalidInput(f"the background is not what the network takes: {_said(ran[0])}") from ran[0]


def _said(error: Exception) -> str:
    """A framework's words. Keras's own begin with where it was called, and say what is wrong two lines further."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line for line in plain.splitlines() if line.strip() and not line.startswith("Exception encountered")]
    return lines[0] if lines else first_line(error)


def _guesses(names: Sequence[str]) -> list[dict[str, bool]]:
    """Which inputs of a torch network are whole numbers: none, then each combination."""
    return [{n: bool(number >> i & 1) for i, n in enumerate(names)} for number in range(1 << min(len(names), 6))]


def _check_alone(network: Any, arrays: Arrays, table: np.ndarray) -> None:
    """A row's answer is its own, whatever rows are beside it."""
    first = {name: array[:1] for name, array in arrays.items()}
    gap = np.abs(np.asarray(network.run(first)) - table[:1]).max(initial=0)
    scale = np.abs(table).max(initial=0)
    if np.isfinite(scale) and gap > ALONE * scale:
        raise ModelFault(
            "the network's output for a row depends on the rows beside it; it must treat each row by itself"
            " (statistics over a batch belong into its weights)"
        )


def _cast(name: str, array: np.ndarray, integer: bool, network: Any) -> np.ndarray:
    if hasattr(network, "dtypes"):
        wanted = network.shapes[network.names.index(name)]
        if array.shape[1:] != wanted:
            raise InvalidInput(
                f'the rows of "{name}" in the background have shape {array.shape[1:]}; the model takes {wanted}'
            )
        return array.astype(network.dtypes[network.names.index(name)])
    if integer:
        if array.dtype.kind not in "iub":
            raise InvalidInput(f'the network takes whole numbers in "{name}"; the background has others')
        return array.astype(np.int64)
    return array.astype(network.dtype)
