"""One ONNX graph in one ONNX Runtime session. Its digest is checked before it is parsed."""

from pathlib import Path
from typing import Any

import numpy as np

from whyserve.model.manifest import Manifest, read_checked
from whyserve.model.rows import Arrays
from whyserve.model.spec import ONNX_FILE
from whyserve.onnx.session import LoopSession, dtype_of, open_model


class OnnxSession:
    """Runs a graph. Thread-safe."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        self._session = open_model(read_checked(folder, ONNX_FILE, manifest), manifest.spec, threads)
        self._output = [manifest.spec.output.tensor]
        self._columns = manifest.columns
        # A run may take much longer than others of the same size.
        self.may_block = isinstance(self._session, LoopSession)

    @property
    def providers(self) -> list[str]:
        """The execution providers that ONNX Runtime really uses, in their order."""
        found: list[str] = self._session.get_providers()
        return found

    @property
    def output_dtype(self) -> np.dtype[Any]:
        (output,) = (item for item in self._session.get_outputs() if item.name == self._output[0])
        dtype: np.dtype[Any] = np.dtype(dtype_of(output))
        return dtype

    def run(self, arrays: Arrays, tensor: str | None = None) -> np.ndarray:
        """arrays: by input, (rows, *shape). tensor: another one than the output. Returns (rows, columns)."""
        result: np.ndarray = self._session.run([tensor] if tensor else self._output, arrays)[0]
        return result if result.ndim == 2 else result.reshape(-1, self._columns)
