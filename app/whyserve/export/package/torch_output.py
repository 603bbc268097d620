"""The chosen output of a torch network, as a network of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from whyserve.export.package.output_choice import OutputChoice


class ChosenOutput(nn.Module):
    """Takes the inputs of `module` by position, and returns (rows,) or (rows, outputs). names: of the inputs."""

    def __init__(self, module: nn.Module, names: Sequence[str], choice: OutputChoice) -> None:
        super().__init__()
        self.module, self.names, self.choice = module, tuple(names), choice

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.choice.of(self.module(*inputs), dict(zip(self.names, inputs, strict=True)), TorchOperations())


class TorchOperations:
    channels_last = False

    def is_tensor(self, value: Any) -> bool:
        return isinstance(value, torch.Tensor)

    def reduce(self, how: str, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        reduced: torch.Tensor = getattr(torch, {"max": "amax", "min": "amin"}.get(how, how))(x, axes)
        return reduced

    def transpose(self, x: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        return x.permute(axes)

    def flatten(self, x: torch.Tensor, first: int) -> torch.Tensor:
        return x.flatten(first)

    def take(self, x: torch.Tensor, places: Sequence[int]) -> torch.Tensor:
        return x[..., torch.tensor(places)]

    def column(self, x: torch.Tensor) -> torch.Tensor:
        return x.unsqueeze(1)

    def like(self, x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return x.to(other.dtype)

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(parts), -1)


def is_table(program: ExportedProgram) -> bool:
    """Whether a program returns one tensor of shape (rows,) or (rows, outputs)."""
    values = [node.meta["val"] for node in program.graph.output_node().args[0]]
    return program.call_spec.out_spec.is_leaf() and isinstance(values[0], torch.Tensor) and values[0].ndim in (1, 2)
