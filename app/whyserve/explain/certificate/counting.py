"""Count the work of an explanation. Its expected time follows from the count, so a busy machine changes nothing."""

from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network

# Seconds on one core of an idle machine of 2024, fitted to nine networks and five methods: each operation of torch,
# each byte that it writes, and each multiplication or addition of a matrix product.
OPERATION_S, BYTE_S, FLOP_S = 4e-6, 1e-10, 2e-11
# A network outside torch: each call, and each row per byte of its file. A dense layer uses every weight once per row.
CALL_S, FILE_BYTE_S = 2e-5, 1e-11


class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of torch while it is entered. seconds: their expected time."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seconds = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seconds += OPERATION_S
        if not func.is_view:
            self.seconds += BYTE_S * sum(x.nbytes for x in tree_leaves(out) if isinstance(x, torch.Tensor))
        if flops := flop_registry.get(func._overloadpacket):
            self.seconds += FLOP_S * flops(*args, **(kwargs or {}), out_val=out)
        elif func._overloadpacket is torch.ops.aten.mkldnn_rnn_layer:
            steps_and_rows, weights = args[0].shape[:2].numel(), args[1].numel() + args[2].numel()
            self.seconds += FLOP_S * 2 * steps_and_rows * weights
        return out

    def of(self, network: Network) -> Network:
        """The network, which also counts its calls if it runs outside torch."""
        if network.has_gradients:
            return network

        def run(*inputs: torch.Tensor) -> object:
            self.seconds += CALL_S + FILE_BYTE_S * network.file_bytes * len(inputs[0])
            return network.module(*inputs)

        return replace(network, run=run)

    def limits(self, seconds: float, samples: int | None = None, seed: int = 0) -> Limits:
        """Limits that stop a method after work of so many more seconds."""
        end = self.seconds + seconds
        return Limits(samples=samples, seed=seed, on_progress=lambda _: self.seconds < end)
