"""Open an ONNX file in ONNX Runtime. Its operators are checked before it is parsed, its inputs and outputs after."""

from typing import Any

from whyserve.errors import ModelFault, first_line
from whyserve.model.spec import ONNX_FILE, ModelSpec
from whyserve.onnx.graph_check import check_graph
from whyserve.onnx.runtime import onnxruntime as ort

NO_ZIP_MAP = 'convert the model again with options={"zipmap": False}, or package it with whyserve.package'


def open_session(content: bytes, place: str, threads: int, *, ml: bool = False) -> ort.InferenceSession:
    """A session without telemetry and spinning threads.

    place: the file's name, for messages. threads: 0 means one per core. ml: also allow the operators of ai.onnx.ml.
    Raises ModelFault.
    """
    check_graph(content, place, ml=ml)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # an error of a run is an exception too
    # Idle threads that spin take processor time from other processes (onnxruntime#13808).
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    # Never ONNX Runtime's own format, whatever the file's first bytes are: only ONNX has been checked.
    options.add_session_config_entry("session.load_model_format", "ONNX")
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelFault(f"{place}: ONNX Runtime cannot load the network: {first_line(error)}") from error


def open_model(content: bytes, spec: ModelSpec, threads: int) -> ort.InferenceSession:
    """A session for the network of a model, whose inputs and output are those of model.toml. Raises ModelFault."""
    place = f"{spec.name}/{ONNX_FILE}"
    session = open_session(content, place, threads, ml=spec.framework == "onnx")
    found, expected = sorted(i.name for i in session.get_inputs()), sorted(i.name for i in spec.inputs)
    if found != expected:
        raise ModelFault(f"{place}: its inputs are {found}, but model.toml names {expected}; use the names of the file")
    for given in session.get_inputs():
        check_free_rows(given, place)
    outputs = {output.name: output for output in session.get_outputs()}
    if spec.output.tensor not in outputs:
        raise ModelFault(
            f"{place}: its outputs are {sorted(outputs)}, but output.tensor in model.toml is"
            f' "{spec.output.tensor}"; use a name of the file'
        )
    if (dtype := dtype_of(outputs[spec.output.tensor])) not in {"float32", "float64"}:
        way_out = NO_ZIP_MAP if dtype.startswith("seq") else "set output.tensor to an output of scores or values"
        raise ModelFault(
            f'{place}: the output "{spec.output.tensor}" has the type {dtype}; float32 or float64 is needed: {way_out}'
        )
    return session


def check_free_rows(given: Any, place: str) -> None:
    """given: an input of a session. Raises ModelFault if the file fixes its number of rows."""
    if given.shape and isinstance(given.shape[0], int):
        raise ModelFault(
            f'{place}: input "{given.name}" has a fixed number of rows ({given.shape[0]}); convert the model again'
            " with a free first dimension: FloatTensorType([None, columns]) in skl2onnx and onnxmltools,"
            " dynamic_shapes in torch.onnx.export"
        )


def dtype_of(end: Any) -> str:
    """The dtype of an input or output of a session, as numpy names it; for other types the name in ONNX Runtime."""
    name = str(end.type).removeprefix("tensor(").removesuffix(")")
    return {"float": "float32", "double": "float64"}.get(name, name)
