"""One ONNX graph in one ONNX Runtime session. Its digest and its operators are checked before it is parsed."""

from pathlib import Path
from typing import Any

import numpy as np

from whyserve.errors import ModelFault, first_line
from whyserve.model.manifest import ONNX_FILE, Manifest, read_checked
from whyserve.model.rows import Arrays
from whyserve.onnx.graph_check import check_graph
from whyserve.onnx.runtime import onnxruntime as ort


class OnnxSession:
    """Runs a graph. Thread-safe."""

    def __init__(self, folder: Path, manifest: Manifest, threads: int) -> None:
        content = read_checked(folder, ONNX_FILE, manifest)
        check_graph(content, f"{manifest.spec.name}/{ONNX_FILE}")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Idle threads that spin take processor time from other processes (onnxruntime#13808).
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.add_session_config_entry("session.inter_op.allow_spinning", "0")
        # Never ONNX Runtime's own format, whatever the file's first bytes are: only ONNX has been checked.
        options.add_session_config_entry("session.load_model_format", "ONNX")
        try:
            self._session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelFault(f"{folder.name}/{ONNX_FILE}: {first_line(error)}") from error
        self._check_names(folder, manifest)
        self._output = [manifest.spec.output.tensor]
        self._columns = manifest.columns

    def _check_names(self, folder: Path, manifest: Manifest) -> None:
        found = {item.name for item in self._session.get_inputs()}
        expected = {item.name for item in manifest.spec.inputs}
        if found != expected:
            raise ModelFault(
                f"{folder.name}/{ONNX_FILE}: its inputs are {sorted(found)}, but the manifest has {sorted(expected)}; "
                "run `whyserve export`"
            )

    @property
    def output_dtype(self) -> np.dtype[Any]:
        types = {item.name: item.type for item in self._session.get_outputs()}
        name = types[self._output[0]].removeprefix("tensor(").removesuffix(")")
        dtype: np.dtype[Any] = np.dtype({"float": "float32", "double": "float64"}.get(name, name))
        return dtype

    def run(self, arrays: Arrays) -> np.ndarray:
        """arrays: by input, (rows, *shape). Returns (rows, columns)."""
        result: np.ndarray = self._session.run(self._output, arrays)[0]
        return result if result.ndim == 2 else result.reshape(-1, self._columns)
