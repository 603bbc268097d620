"""A network on another scale: one layer behind it, which every method explains as a part of the network.

Where the last operation is softmax or sigmoid, the layer takes the logits: they stay finite and exact where a
probability is rounded to 0 or 1. Otherwise the layer takes the probabilities, clipped at the float's epsilon.
"""

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad
from torch.overrides import TorchFunctionMode

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.network import Network
from whyserve.explain.models.traced_network import traced_network
from whyserve.model.manifest import Ending
from whyserve.model.scale import Scale
from whyserve.model.spec import ModelSpec

# Functions that may follow the last operation: they keep its numbers. By the name in torch, without its overload.
_KEEP = {"squeeze", "unsqueeze", "view", "reshape", "flatten", "contiguous", "clone", "alias", "float", "double"}
_ENDINGS: dict[str, Ending] = {"softmax": "softmax", "_softmax": "softmax", "sigmoid": "sigmoid", "expit": "sigmoid"}


class _LastOperation(TorchFunctionMode):
    """Follows softmax and sigmoid in a forward pass, from their argument to the network's result."""

    def __init__(self) -> None:
        super().__init__()
        # Result's id → (result, argument, ending). A kept result keeps its id.
        self.found: dict[int, tuple[Any, torch.Tensor, Ending]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "").split("::")[-1].split(".")[0]
        given = args[0] if args else kwargs.get("input")
        if name in _ENDINGS and isinstance(given, torch.Tensor) and out is not given:
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            if _ENDINGS[name] == "sigmoid" or (given.ndim == 2 and dim in (1, -1)):
                self.found[id(out)] = (out, given, _ENDINGS[name])
        elif name in _KEEP and id(given) in self.found:
            self.found[id(out)] = (out, *self.found[id(given)][1:])
        return out


class Logits(nn.Module):
    """The argument of the softmax or sigmoid at the end of a module, (rows, columns)."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        logits, _ = self.run(inputs)
        return logits

    def run(self, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, Ending]:
        """The logits and the last operation. Raises KeyError if it is another one."""
        with _LastOperation() as last:
            result = self.module(*inputs)
        _, logits, ending = last.found[id(result)]
        return logits.reshape(logits.shape[0], -1), ending


def ending_of(spec: ModelSpec, network: Network, rows: Inputs) -> Ending | None:
    """The last operation of a network of probabilities; None if it is neither softmax nor sigmoid."""
    if spec.output.scores != "probabilities" or spec.task == "regression" or not network.has_gradients:
        return None
    try:
        with torch.no_grad():
            return Logits(network.module).run(tuple(rows[name] for name in network.names))[1]
    except KeyError:
        return None


class Layer(nn.Module):
    """(rows, columns) of logits, probabilities or values → (rows, columns) on a scale. ending: of the network."""

    others: torch.Tensor

    def __init__(self, spec: ModelSpec, scale: Scale, ending: Ending | None, columns: int) -> None:
        super().__init__()
        self.ending: str = ending or spec.output.scores
        if self.ending == "logits":
            self.ending = "softmax" if spec.task == "classification" else "sigmoid"
        if columns == 1 and self.ending == "softmax":
            self.ending = "sigmoid"
        # Of two labels on one column, the log-odds of one are the log ratio of both.
        is_alone = scale.instead_of is None or (columns == 1 and scale.name == "log_ratio")
        self.name = "log_odds" if is_alone else scale.name
        self.other = 0 if is_alone or scale.instead_of is None else spec.output_names.index(scale.instead_of)
        others = [[other for other in range(columns) if other != column] for column in range(columns)]
        self.register_buffer("others", torch.tensor(others, dtype=torch.int64), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """log(p/(1 − p)) is z for a sigmoid, and z − log Σ exp(z of the others) for a softmax."""
        x = x.unsqueeze(1) if x.ndim == 1 else x
        if self.name == "log_odds":
            if self.ending == "softmax":
                return x - x[:, self.others].logsumexp(-1)
            return x if self.ending == "sigmoid" else self._log(x) - self._log(1 - x)
        if self.name == "log_ratio" and self.ending != "softmax":
            x = -pad(-x.unsqueeze(-1), (0, 1)).logsumexp(-1) if self.ending == "sigmoid" else self._log(x)
        return x - x[:, self.other : self.other + 1]

    @staticmethod
    def _log(probability: torch.Tensor) -> torch.Tensor:
        return probability.clamp_min(torch.finfo(probability.dtype).eps).log()


class _OnScale(nn.Module):
    def __init__(self, source: nn.Module, layer: Layer) -> None:
        super().__init__()
        self.source, self.layer = source, layer

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.layer(self.source(*inputs))
        return result


def network_on(spec: ModelSpec, network: Network, scale: Scale | None, ending: Ending | None, rows: Inputs) -> Network:
    """The network with a layer for a scale, traced if that makes its passes faster. rows: of the background.

    Raises UnsupportedNetwork if the network cannot be run.
    """
    if scale is None:
        return network
    some = {name: x[:2] for name, x in rows.items()}
    with torch.no_grad():
        columns = network(some).shape[1]
    source = Logits(network.module) if ending else network.module
    made = replace(network, module=_OnScale(source, Layer(spec, scale, ending, columns)).eval(), run=None, padding={})
    return traced_network(made, rows) if network.has_gradients else made
