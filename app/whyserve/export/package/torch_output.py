"""The chosen output of a torch network, as a network of its own."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.export import ExportedProgram

from whyserve.export.package.output_choice import Operations, OutputChoice

OPERATIONS = Operations(
    channels_last=False,
    tensor=torch.Tensor,
    reduce=lambda how, x, axes: getattr(torch, {"max": "amax", "min": "amin"}.get(how, how))(x, axes),
    transpose=torch.permute,
    flatten=torch.flatten,
    take=lambda x, places: x[..., torch.tensor(places)],
    column=lambda x: x.unsqueeze(1),
    cast=torch.Tensor.to,
    join=lambda parts: torch.cat(parts, -1),
)


class ChosenOutput(nn.Module):
    """Takes the inputs of `module` by position, and returns (rows,) or (rows, outputs). names: of the inputs."""

    def __init__(self, module: nn.Module, names: Sequence[str], choice: OutputChoice) -> None:
        super().__init__()
        self.module, self.names, self.choice = module, tuple(names), choice

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.choice.of(self.module(*inputs), dict(zip(self.names, inputs, strict=True)), OPERATIONS)


def is_table(program: ExportedProgram) -> bool:
    """Whether a program returns one tensor of shape (rows,) or (rows, outputs)."""
    values = [node.meta["val"] for node in program.graph.output_node().args[0]]
    return program.call_spec.out_spec.is_leaf() and isinstance(values[0], torch.Tensor) and values[0].ndim in (1, 2)
