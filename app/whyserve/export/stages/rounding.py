"""The stage that runs a network in float64, for the error that float32 alone causes. It runs if parity is in doubt."""

import copy
import os
from collections.abc import Mapping, Sequence
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "torch")

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from whyserve.explain.game.network import Network
from whyserve.explain.models.loader import load_network
from whyserve.export.stages.stage import Table, Task, in_batches
from whyserve.model.rows import Arrays


class InFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]  # of torch's stub
    """Every operation takes and makes float64 where the program says float32."""

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        args, kwargs = tree_map(_widened, (tuple(args), dict(kwargs or {})))
        return function(*args, **kwargs)


def _widened(value: Any) -> Any:
    if isinstance(value, torch.Tensor) and value.dtype == torch.float32:
        return value.double()
    return torch.float64 if value is torch.float32 else value


def export(task: Task) -> None:
    torch.set_num_threads(1)
    network = load_network(task.spec(), task.read)
    wide = Network(copy.deepcopy(network.module).double(), network.names)
    torch.set_default_dtype(torch.float64)

    def run(rows: Arrays) -> np.ndarray:
        with torch.no_grad(), InFloat64():  # type: ignore[no-untyped-call]
            outputs: np.ndarray = wide(
                {name: _widened(torch.from_numpy(array)) for name, array in rows.items()}
            ).numpy()
        return outputs

    task.save(Table.EXACT, in_batches(run, task.rows()))
