"""A torch network as the explanation methods see it: named inputs in, (rows, outputs) out."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Inputs


@dataclass(frozen=True, slots=True)
class Network:
    """`module`, in eval mode, is called with its inputs by position, in the order of `names`.

    Its output is (rows, outputs), or (rows,) for a single output. run: gives the same as the module, sooner.
    """

    module: nn.Module
    names: tuple[str, ...]
    run: Callable[..., object] | None = None

    def __call__(self, inputs: Inputs) -> torch.Tensor:
        """(rows, outputs); differentiable where the caller has gradients on."""
        result = (self.run or self.module)(*(inputs[name] for name in self.names))
        rows = next(iter(inputs.values())).shape[0]
        return as_table(result, rows)


def as_table(result: object, rows: int) -> torch.Tensor:
    """Check what a network returned and give it as (rows, outputs).

    Raises UnsupportedNetwork when it is not one floating-point tensor of (rows,) or (rows, outputs).
    """
    if not isinstance(result, torch.Tensor):
        raise UnsupportedNetwork(f"the network returns {type(result).__name__}, not one tensor of (batch, outputs)")
    if result.ndim == 1 and result.shape[0] == rows:
        result = result.unsqueeze(1)
    if result.ndim != 2 or result.shape[0] != rows:
        raise UnsupportedNetwork(
            f"the network returns shape {tuple(result.shape)} for a batch of {rows}; (batch, outputs) is needed"
        )
    if not result.is_floating_point():
        raise UnsupportedNetwork(f"the network returns {result.dtype}, not a floating-point output")
    return result


def check_apart(network: Network, rows: Inputs) -> None:
    """Raises UnsupportedNetwork where the answer for a row depends on the other rows of its batch."""
    if row_count(rows) < 2:
        return
    together = network(rows)
    first = network({name: torch.cat([x[:1], x[:1], x[1:2]]) for name, x in rows.items()})
    scale = max(1.0, float(together.abs().max()))
    if (
        not (first[0] - together[0]).abs().max() <= 1e-3 * scale
        or not (first[2] - together[1]).abs().max() <= 1e-3 * scale
    ):
        raise UnsupportedNetwork("the network's answer for a row depends on the other rows of its batch")


def row_count(inputs: Inputs) -> int:
    """Rows in a batch of inputs."""
    return next(iter(inputs.values())).shape[0]
