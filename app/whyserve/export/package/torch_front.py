"""The layers of `preprocess` in front of a torch network."""

import torch
from torch import nn
from torch.nn import functional

from whyserve.export.package.preprocess import Front
from whyserve.export.package.transformers import FILL, HIGH, LOW, SCALE, SHIFT, SOURCE


class FrontedModule(nn.Module):
    """A network behind the layers. Its inputs are those of the front. dtype: of the network's input."""

    steps: torch.Tensor
    source: torch.Tensor
    order: torch.Tensor

    def __init__(self, front: Front, network: nn.Module, dtype: str) -> None:
        super().__init__()
        self.front, self.network, self.dtype = front, network, getattr(torch, dtype)
        constants = {"steps": front.steps, "source": front.steps[SOURCE].astype(int), "order": front.order}
        tables = {f"table_{number}": table for number, table in enumerate(front.tables)}
        for name, value in {**constants, **tables}.items():
            self.register_buffer(name, torch.from_numpy(value))
        self.training = False  # the network is in eval mode; a program has no eval()

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        first, codes = inputs[0], inputs[-1]
        parts = []
        if self.front.has(SCALE):
            x = first.index_select(1, self.source) * self.steps[SCALE] + self.steps[SHIFT]
            if self.front.has(LOW, HIGH):
                x = torch.clamp(x, self.steps[LOW], self.steps[HIGH])
            parts.append(torch.where(torch.isnan(x), self.steps[FILL], x) if self.front.has(FILL) else x)
        for number in range(len(self.front.tables)):
            parts.append(functional.embedding(codes[:, number], getattr(self, f"table_{number}")))
        output: torch.Tensor = self.network(torch.cat(parts, 1).index_select(1, self.order).to(self.dtype))
        return output
