"""The network interface of the explanation methods: named inputs, and one table of (rows, outputs)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Inputs
from whyserve.model.methods import NEEDS_NUMBERS, NEEDS_TORCH


@dataclass(frozen=True, slots=True)
class Network:
    """A torch module in eval mode.

    names: the input names, in the order of the module's positional arguments.
    run: a faster function with the same results as the module; it is called if given.
    has_gradients: False if the module runs its network outside torch.
    file_bytes: of such a network, the size of its file.
    takes_nan: whether its rows may hold NaN, for missing values.
    padding: the id of padding in a text and the inputs that belong to it. The network gives the same outputs without
        the last columns if these are padding.
    """

    module: nn.Module
    names: tuple[str, ...]
    run: Callable[..., object] | None = None
    has_gradients: bool = True
    file_bytes: int = 0
    takes_nan: bool = False
    padding: Mapping[str, int] = field(default_factory=dict)

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        """(rows, outputs), with gradients if they are enabled. Raises UnsupportedNetwork as as_table does."""
        result = (self.run or self.module)(*(inputs[name] for name in self.names))
        rows = next(iter(inputs.values())).shape[0]
        return as_table(result, rows)

    def cut(self, inputs: Inputs) -> Inputs:
        """The inputs without the last columns that are padding in every row."""
        if not self.padding:
            return inputs
        used = torch.stack([(inputs[name] != pad).any(0) for name, pad in self.padding.items()]).any(0)
        count = max(1, int((used * torch.arange(1, len(used) + 1)).max()))
        return {name: x[:, :count] if name in self.padding else x for name, x in inputs.items()}


def check_gradients(network: Network) -> None:
    """Raises UnsupportedNetwork if torch does not see the operations of the network, or if it may get NaN."""
    if not network.has_gradients:
        raise UnsupportedNetwork(NEEDS_TORCH)
    if network.takes_nan:
        raise UnsupportedNetwork(NEEDS_NUMBERS)


def as_table(result: object, rows: int) -> torch.Tensor:
    """Convert the result of a network to (rows, outputs).

    Raises UnsupportedNetwork if it is not one floating-point tensor of shape (rows,) or (rows, outputs).
    """
    if not isinstance(result, torch.Tensor):
        raise UnsupportedNetwork(
            f"the network returns {type(result).__name__}; one tensor of (batch, outputs) is needed"
        )
    if result.ndim == 1 and result.shape[0] == rows:
        result = result.unsqueeze(1)
    if result.ndim != 2 or result.shape[0] != rows:
        raise UnsupportedNetwork(
            f"the network returns shape {tuple(result.shape)} for a batch of {rows}; (batch, outputs) is needed"
        )
    if not result.is_floating_point():
        raise UnsupportedNetwork(f"the network returns {result.dtype}; a floating-point output is needed")
    return result


def check_apart(network: Network, rows: Inputs) -> None:
    """Raises UnsupportedNetwork if the output for a row depends on the other rows of the batch."""
    if row_count(rows) < 2:
        return
    together = network(rows)
    first = network({name: torch.cat([x[:1], x[:1], x[1:2]]) for name, x in rows.items()})
    scale = max(1.0, float(together.abs().max()))
    if (
        not (first[0] - together[0]).abs().max() <= 1e-3 * scale
        or not (first[2] - together[1]).abs().max() <= 1e-3 * scale
    ):
        raise UnsupportedNetwork("the network's output for a row depends on the other rows of the batch")


def not_finite(rows: str) -> UnsupportedNetwork:
    """The error for a NaN or an infinity in the network's output. rows: the rows that have it, in words."""
    return UnsupportedNetwork(f"the network's output is not finite for {rows}")


def row_count(inputs: Inputs) -> int:
    """The number of rows in a batch of inputs."""
    return next(iter(inputs.values())).shape[0]
