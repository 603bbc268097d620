"""Forward passes in chunks of rows: the size of a chunk, and the checks of inputs and outputs."""

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.game.base import Inputs, Limits
from whyserve.explain.game.device import Halving, rows_in
from whyserve.explain.game.masking import Kept, Mask
from whyserve.explain.game.network import Network, not_finite, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.game.pointwise import ONE_DNN_ROWS, QuickPointwise

# The activations of one chunk should fit the processor's cache. A small network runs at half its speed with larger
# chunks; with much smaller chunks, the overhead of each operation dominates.
CACHE_BYTES = 6 << 20
# A larger network has fewer than MIN_ROWS rows in a chunk only if their activations are more than LARGE_BYTES. Beyond
# that, the overhead no longer matters, and a convolutional network runs at half its speed or less. With fewer than
# LEAST_ROWS rows, matrix products are slower.
MIN_ROWS, LARGE_BYTES, LEAST_ROWS = 256, 32 << 20, 4


class Passes(Halving):
    """A network and its background, evaluated without gradients in chunks that fit in `memory_bytes`.

    rows: B. width: the number of output columns.
    background_outputs: (B, outputs) float64. base_values: (outputs,), their mean.
    row_bytes: the size of the activations of one row, summed over all operations.
    chunk_rows: the maximum number of rows in one chunk.

    Raises UnsupportedNetwork if the background does not fit the players or has no rows, and if the network's output
    is not finite or not of shape (rows, outputs).
    """

    def __init__(self, network: Network, background: Inputs, players: Players, memory_bytes: int) -> None:
        self.network = network
        self.players = players
        self.background = check_background(background, players, nan=network.takes_nan)
        self.rows = row_count(self.background)
        self.masks = Kept[Mask]()
        self.row_bytes = activation_bytes(network, {name: x[:1] for name, x in self.background.items()})
        on = next(iter(self.background.values())).device
        self.chunk_rows = rows_in(memory_bytes, self.row_bytes, quick_rows(network, self.row_bytes), on)
        self.background_outputs = self.table(self.background)
        self.base_values = self.background_outputs.mean(0)
        self.width = self.background_outputs.shape[1]

    def table(self, inputs: Inputs) -> torch.Tensor:
        """(rows, outputs) float64 for any number of rows, chunk by chunk."""
        slices = ranges(row_count(inputs), self.chunk_rows)
        return torch.cat([self({name: x[part] for name, x in inputs.items()}).double() for part in slices])

    def __call__(self, inputs: Inputs, network: Network | None = None) -> torch.Tensor:
        """(rows, outputs) of one chunk, in the network's dtype. Raises UnsupportedNetwork if it is not finite.

        network: another one that gives the same table from other inputs.
        """
        network = network or self.network
        is_slow = self.chunk_rows < ONE_DNN_ROWS and next(iter(inputs.values())).device.type == "cpu"
        with torch.no_grad(), QuickPointwise() if is_slow else nullcontext():
            out = self.in_halves(
                slice(0, row_count(inputs)),
                lambda part: network(network.cut({name: x[part] for name, x in inputs.items()})),
                lambda one, other: torch.cat([one, other]),
            )
        if not all_finite(out):
            raise not_finite("a mix of an explained row and a background row")
        return out


def ranges(count: int, step: int) -> Iterator[slice]:
    """Consecutive slices of at most `step` that cover 0 … count."""
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def quick_rows(network: Network, row_bytes: int) -> int:
    """The number of rows in the chunk that takes the least time per row. row_bytes: the activations of one row.

    A pass reads the weights once, so a network with many weights needs as many bytes of activations.
    """
    most = max(LARGE_BYTES, sum(weight.nbytes for weight in network.module.parameters()))
    return max(LEAST_ROWS, CACHE_BYTES // row_bytes, min(MIN_ROWS, most // row_bytes))


def all_finite(x: torch.Tensor) -> bool:
    """Whether all elements are finite. A finite sum proves it, and one sum is cheaper than a test of every element."""
    return isfinite(x.sum()) or bool(torch.isfinite(x).all())


def check_background(background: Inputs, players: Players, *, nan: bool = False) -> Inputs:
    """The inputs of a background, (B, *shape) each. nan: whether NaN is a value.

    Raises UnsupportedNetwork, which names a wrong input.
    """
    return _check(background, players.membership, "the background", UnsupportedNetwork, nan=nan)


def check_rows(rows: Inputs, background: Inputs, players: Players, *, nan: bool = False) -> Inputs:
    """Explained rows in the background's dtypes. nan: whether NaN is a value.

    Raises InvalidInput, which names a wrong input.
    """
    # In a new thread, torch ignores the configured number of threads until somebody reads it. Matrix products would
    # then run on all cores, and their last bits would differ.
    torch.get_num_threads()
    checked = _check(rows, players.membership, "the explained rows", InvalidInput, nan=nan)
    return {name: x.to(background[name].dtype) for name, x in checked.items()}


def _check(
    inputs: Inputs, membership: Mapping[str, torch.Tensor], what: str, error: type[Exception], *, nan: bool
) -> Inputs:
    counts = set()
    for name, players in membership.items():
        if name not in inputs:
            raise error(f'{what}: input "{name}" is missing')
        x = inputs[name]
        if x.shape[1:] != players.shape or x.ndim == 0:
            needed = ", ".join(["rows", *map(str, players.shape)])
            raise error(f'{what}: input "{name}" has shape {tuple(x.shape)}; ({needed}) is needed')
        if x.is_floating_point() and not all_finite(x) and not (nan and not x.isinf().any()):
            raise error(f'{what}: input "{name}" holds a number that is not finite')
        counts.add(x.shape[0])
    if len(counts) != 1 or 0 in counts:
        raise error(f"{what}: the inputs have {sorted(counts)} rows; the same number in all, at least 1, is needed")
    return {name: inputs[name].detach() for name in membership}


class _AllocationCounter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that operations allocate. Views and in-place results allocate nothing."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        known = {storage.data_ptr() for storage in _storages((args, kwargs))}
        self.bytes += sum(storage.nbytes() for storage in _storages(out) if storage.data_ptr() not in known)
        return out


def _storages(tree: Any) -> list[torch.UntypedStorage]:
    dense = (x for x in tree_leaves(tree) if isinstance(x, torch.Tensor) and x.layout is torch.strided)
    return [x.untyped_storage() for x in dense]


def activation_bytes(network: Network, row: Inputs) -> int:
    """Bytes that one row allocates in a forward pass, with its inputs: an upper bound on the memory in use."""
    counter = _AllocationCounter()
    with torch.no_grad(), counter:
        network(row)
    # Three tensors of the input's size per mixed row: the mask, the repeated row and the mix.
    return max(1, counter.bytes + 3 * sum(x.nbytes for x in row.values()))


@dataclass(slots=True)
class Progress:
    """Reports progress between chunks, and tells a method whether to continue.

    total, done: in network rows (deep: pairs of rows). share: the largest finished share reported so far.
    """

    limits: Limits
    total: int
    done: int = 0
    share: float = 0.0

    def go_on(self, step: int = 0) -> bool:
        """Add `step` to the finished work and report it. False after the deadline, or if the caller asks to stop."""
        self.done += step
        # The total grows when a method adds rounds. The reported share never decreases.
        self.share = max(self.share, min(1.0, self.done / self.total) if self.total else 1.0)
        wanted = self.limits.on_progress is None or self.limits.on_progress(self.share) is not False
        return wanted and (self.limits.deadline is None or time.monotonic() < self.limits.deadline)
