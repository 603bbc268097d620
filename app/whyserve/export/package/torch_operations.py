"""Code in front of a torch network or behind it, as a module of torch."""

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from whyserve.export.package.operations import Operations

OPERATIONS = Operations(
    channels_last=False,
    tensor=torch.Tensor,
    constant=torch.tensor,
    reduce=lambda how, x, axes: getattr(torch, {"max": "amax", "min": "amin"}.get(how, how))(x, axes),
    transpose=torch.permute,
    flatten=torch.flatten,
    take=lambda x, places: x.index_select(-1, torch.tensor(places)),
    column=lambda x: x.unsqueeze(1),
    cast=lambda x, dtype: x.to(getattr(torch, dtype) if isinstance(dtype, str) else dtype),
    join=lambda parts: torch.cat(parts, -1),
    lookup=lambda table, codes: functional.embedding(codes, torch.tensor(table)),
    clip=torch.clamp,
    fill=lambda x, value: torch.where(torch.isnan(x), value, x),
)


class Wrapped(nn.Module):
    """A network that other code calls: forward(…) is call(network, …)."""

    def __init__(self, network: nn.Module, call: Callable[..., Any]) -> None:
        super().__init__()
        self.network, self.call = network, call
        self.training = False  # the network is in eval mode; the module of a program has no eval()

    def forward(self, *inputs: Any, **keywords: Any) -> Any:
        return self.call(self.network, *inputs, **keywords)
