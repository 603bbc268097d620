"""A network that runs outside torch, such as an ONNX model. Methods that only need its outputs explain it."""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from whyserve.errors import ModelFault
from whyserve.explain.game.network import Network
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# Outside torch, the memory of a pass is not known. So a pass takes few rows: at most MOST_ROWS, and at most INPUT_BYTES
# of inputs. More rows are hardly faster.
MOST_ROWS, INPUT_BYTES = 4096, 4 << 20


class _Outside(nn.Module):
    def __init__(self, run: Callable[[Arrays], np.ndarray], names: Sequence[str]) -> None:
        super().__init__()
        self.run, self.names = run, names

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        rows_at_a_time = max(1, min(MOST_ROWS, INPUT_BYTES // sum(x[0].nbytes for x in inputs)))
        parts = zip(*(torch.split(x, rows_at_a_time) for x in inputs), strict=True)
        arrays = ({n: x.contiguous().numpy() for n, x in zip(self.names, part, strict=True)} for part in parts)
        return torch.cat([torch.from_numpy(np.require(self.run(rows), requirements="W")) for rows in arrays])


def outside_torch(run: Callable[[Arrays], np.ndarray], names: Sequence[str], file_bytes: int = 0) -> Network:
    """A network without gradients. run: arrays by input, (rows, *shape) → (rows, outputs). names: of its inputs."""
    return Network(_Outside(run, names), tuple(names), has_gradients=False, file_bytes=file_bytes)


def load_onnx(content: bytes, spec: ModelSpec) -> Network:
    """The network of a model.onnx. Raises ModelFault, also if ONNX Runtime is not installed."""
    try:
        # Only a worker with ONNX models needs it.
        from whyserve.onnx.session import open_model  # noqa: PLC0415
    except ImportError as error:
        raise ModelFault(
            f'{spec.name}: an ONNX model needs ONNX Runtime; install the extra "onnx" of the worker:'
            ' pip install "whyserve[worker,onnx]", or build its image with EXTRAS=onnx'
        ) from error
    session, output = open_model(content, spec, torch.get_num_threads()), [spec.output.tensor]
    names = [item.name for item in spec.inputs]
    return outside_torch(lambda rows: session.run(output, rows)[0], names, len(content))
