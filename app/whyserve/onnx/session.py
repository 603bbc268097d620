"""Open an ONNX file in ONNX Runtime. Its operators are checked before it is parsed, its inputs and outputs after."""

from collections.abc import Sequence
from threading import Timer
from typing import Any

from whyserve.errors import ConfigurationError, ModelFault, first_line
from whyserve.model.spec import ONNX_FILE, ModelSpec
from whyserve.onnx.graph_check import check_graph
from whyserve.onnx.runtime import onnxruntime as ort

NO_ZIP_MAP = 'convert the model again with options={"zipmap": False}, or package it with whyserve.package'

# A Loop may run forever, for some inputs or for all. One run of a graph with a Loop takes so long at most.
DEADLINE_S = 30.0

CPU_PROVIDER = "CPUExecutionProvider"
_providers = [CPU_PROVIDER]


def use_providers(wanted: Sequence[str]) -> None:
    """Open the next sessions with these execution providers, the first choice first. The CPU's is always the last one.

    Raises ConfigurationError if the installed ONNX Runtime does not have one of them.
    """
    available = ort.get_available_providers()
    if unknown := [name for name in wanted if name not in available]:
        raise ConfigurationError(
            f"WHYSERVE_PROVIDERS: ONNX Runtime has no {', '.join(unknown)}; available: {', '.join(available)}"
        )
    _providers[:] = [*(name for name in wanted if name != CPU_PROVIDER), CPU_PROVIDER]


class LoopSession(ort.InferenceSession):  # type: ignore[misc]  # ONNX Runtime has no types
    """A session of a graph with a Loop. A run raises ModelFault after DEADLINE_S."""

    def __init__(self, place: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._place = place

    def run(self, outputs: Sequence[str], arrays: Any, run_options: Any = None) -> Any:
        options = run_options or ort.RunOptions()
        timer = Timer(DEADLINE_S, setattr, (options, "terminate", True))
        timer.daemon = True
        timer.start()
        try:
            return super().run(outputs, arrays, options)
        except Exception as error:
            if not options.terminate:
                raise
            raise ModelFault(
                f"{self._place}: one run took more than {DEADLINE_S:.0f} s and was stopped; bound the graph's loops"
            ) from error
        finally:
            timer.cancel()


def open_session(content: bytes, place: str, threads: int, *, ml: bool = False) -> ort.InferenceSession:
    """A session without telemetry and spinning threads.

    place: the file's name, for messages. threads: 0 means one per core. ml: also allow the operators of ai.onnx.ml.
    Raises ModelFault.
    """
    has_loop = check_graph(content, place, ml=ml)
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
        if has_loop:
            return LoopSession(place, content, options, providers=list(_providers))
        return ort.InferenceSession(content, options, providers=list(_providers))
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
