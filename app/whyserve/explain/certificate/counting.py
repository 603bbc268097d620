"""Count the work of an explanation. Its expected time follows from the count, so a busy machine changes nothing."""

from dataclasses import replace
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network

# Picoseconds on one core of an idle machine, fitted to nine networks and five methods: each operation of torch, each
# byte that it writes, and each multiplication or addition of a matrix product. Whole numbers add up exactly.
OPERATION, BYTE, FLOP = 4_000_000, 100, 20
# A network outside torch: each call, and each row per byte of its file. A dense layer uses every weight once per row.
CALL, FILE_BYTE = 20_000_000, 10
PER_SECOND = 10**12
# After this share of the time that a method may take, its progress says how much time it needs. It is stopped at this
# factor of the time.
KNOWN, FAR = 0.1, 1.25


class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations of torch while it is entered. work: their expected time in picoseconds."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.work = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.work += OPERATION
        if not func.is_view:
            self.work += BYTE * sum(x.nbytes for x in tree_leaves(out) if isinstance(x, torch.Tensor))
        if flops := flop_registry.get(func._overloadpacket):
            self.work += FLOP * flops(*args, **(kwargs or {}), out_val=out)
        elif func._overloadpacket is torch.ops.aten.mkldnn_rnn_layer:
            steps_and_rows, weights = args[0].shape[:2].numel(), args[1].numel() + args[2].numel()
            self.work += 2 * FLOP * 2 * steps_and_rows * weights  # the gates cost as much again
        return out

    def of(self, network: Network) -> Network:
        """The network, which also counts its calls if it runs outside torch."""
        if network.has_gradients:
            return network

        def run(*inputs: torch.Tensor) -> object:
            self.work += CALL + FILE_BYTE * network.file_bytes * len(inputs[0])
            return network.module(*inputs)

        return replace(network, run=run)

    def limits(self, seconds: float, samples: int | None = None, seed: int = 0) -> Limits:
        """Limits that stop a method after work of so many more seconds, or when its progress says that it needs
        clearly more.
        """
        begun, most, first = self.work, seconds * PER_SECOND, list[tuple[float, int]]()

        def is_within(share: float) -> bool:
            spent = self.work - begun
            if not first:
                first.append((share, spent))
            # The work before the first report, such as the guide of a method, is not a part of the progress.
            is_slow = spent > KNOWN * most and spent - first[0][1] > FAR * (share - first[0][0]) * most
            return spent < most and not is_slow

        return Limits(samples=samples, seed=seed, on_progress=is_within)
