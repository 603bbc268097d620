"""Forward passes by chunk: how many rows go through the network at once, and what is checked on the way."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.game.base import Inputs, Limits
from whyserve.explain.game.masking import Masks
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players

# Activations of one chunk that still fit the cache: past it a small network runs at half its speed, and with less
# the cost of calling an operation shows.
CACHE_BYTES = 6 << 20
# For the same reason, of a large network.
LEAST_ROWS = 256


class Passes:
    """A network with its background, evaluated without gradients in chunks that fit `memory_bytes`.

    background_outputs: (B, outputs) float64, the network at every background row; base_values: their mean.
    row_bytes: what one row's activations take, all operations together.
    chunk_rows: rows that one chunk may hold.

    Raises UnsupportedNetwork when the background does not fit the players, has no rows, or gives an output that
    is not finite or not (rows, outputs).
    """

    def __init__(self, network: Network, background: Inputs, players: Players, memory_bytes: int) -> None:
        self.network = network
        self.players = players
        self.background = check_background(background, players)
        self.rows = row_count(self.background)
        self.masks = Masks(players)
        self.row_bytes = activation_bytes(network, {name: x[:1] for name, x in self.background.items()})
        fits = max(1, memory_bytes // self.row_bytes)
        self.chunk_rows = min(fits, max(LEAST_ROWS, CACHE_BYTES // self.row_bytes))
        self.background_outputs = self.table(self.background)
        self.base_values = self.background_outputs.mean(0)
        self.width = self.background_outputs.shape[1]

    def table(self, inputs: Inputs) -> torch.Tensor:
        """(rows, outputs) float64, in as many chunks as it takes."""
        slices = ranges(row_count(inputs), self.chunk_rows)
        return torch.cat([self({name: x[part] for name, x in inputs.items()}).double() for part in slices])

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        """(rows, outputs) of one chunk, in the network's dtype. Raises UnsupportedNetwork when not finite."""
        with torch.no_grad():
            out = self.network(inputs)
        # One sum is cheaper than a test of every element, and all that is needed while it is finite.
        if not torch.isfinite(out.sum()) and not torch.isfinite(out).all():
            raise UnsupportedNetwork("the network gives an output that is not finite on a mix of two valid rows")
        return out


def ranges(count: int, step: int) -> Iterator[slice]:
    """0 … count in slices of at most `step`."""
    return (slice(first, min(first + step, count)) for first in range(0, count, step))


def all_finite(x: torch.Tensor) -> bool:
    """Whether every element is. One sum is sooner known than a test of each, and enough while it is finite."""
    return isfinite(x.sum()) or bool(torch.isfinite(x).all())


def check_background(background: Inputs, players: Players) -> Inputs:
    """The players' inputs of a background, rows first. Raises UnsupportedNetwork naming what does not fit."""
    return _check(background, players.membership, "the background", UnsupportedNetwork)


def check_rows(rows: Inputs, background: Inputs, players: Players) -> Inputs:
    """Explained rows in the background's dtypes. Raises InvalidInput naming what does not fit."""
    # A thread new to torch runs matrix products on all cores until it asks, and then the last bits are others.
    torch.get_num_threads()
    checked = _check(rows, players.membership, "the explained rows", InvalidInput)
    return {name: x.to(background[name].dtype) for name, x in checked.items()}


def _check(inputs: Inputs, shapes: Mapping[str, torch.Tensor], what: str, fault: type[Exception]) -> Inputs:
    counts = set()
    for name, membership in shapes.items():
        if name not in inputs:
            raise fault(f"{what} have no input {name!r}" if what.endswith("s") else f"{what} has no input {name!r}")
        x = inputs[name]
        if x.shape[1:] != membership.shape or x.ndim == 0:
            raise fault(f"{what}: input {name!r} is {tuple(x.shape)}, not (rows, *{tuple(membership.shape)})")
        if x.is_floating_point() and not all_finite(x):
            raise fault(f"{what}: input {name!r} holds a value that is not finite")
        counts.add(x.shape[0])
    if len(counts) != 1 or 0 in counts:
        raise fault(f"{what}: inputs of {sorted(counts)} rows; one number for all, at least 1, is needed")
    return {name: inputs[name].detach() for name in shapes}


class _Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes that operations allocate; views and in-place results cost nothing."""

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
    """Bytes that one row allocates in a forward pass, its own inputs included; an upper bound on what it holds."""
    meter = _Meter()
    with torch.no_grad(), meter:
        network(row)
    # A mixed row is made of a mask, a copy of either side and the mix itself.
    return max(1, meter.bytes + 3 * sum(x.nbytes for x in row.values()))


@dataclass(slots=True)
class Progress:
    """Whether to go on: asked between chunks, told what share of `total` is done."""

    limits: Limits
    total: int
    done: int = 0
    share: float = 0.0

    def go_on(self, step: int = 0) -> bool:
        """Report `step` more as done; False past the deadline or when the caller asks to stop."""
        self.done += step
        # The total may grow as rounds are added; the share told never falls.
        self.share = max(self.share, min(1.0, self.done / self.total) if self.total else 1.0)
        asked = self.limits.on_progress is None or self.limits.on_progress(self.share) is not False
        return asked and (self.limits.deadline is None or time.monotonic() < self.limits.deadline)
