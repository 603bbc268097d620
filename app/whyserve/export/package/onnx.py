"""An ONNX file → model.onnx: the same bytes, unless the file needs one of the edits of onnx_graph."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, get_args

import numpy as np
import onnx

from whyserve.errors import InvalidInput, ModelFault, WhyserveError, first_line
from whyserve.export.package.onnx_graph import Labels, class_labels, make_servable
from whyserve.export.package.output_choice import OutputChoice
from whyserve.model.input_spec import DType
from whyserve.model.spec import ONNX_FILE
from whyserve.onnx.session import check_free_rows, dtype_of, open_session
from whyserve.remote import is_address, open_bytes


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A model in ONNX Runtime.

    names, dtypes, shapes (without the rows; None is a free size): of its inputs.
    categories: of each input of text, which takes their numbers. labels: of a classifier, if the file states them.
    chosen: the name or the number of the output that is served.
    """

    framework: ClassVar[str] = "onnx"
    no_front: ClassVar[str] = (
        "an ONNX model is served as it is, without preprocess; convert the whole pipeline to ONNX, as in"
        " skl2onnx.to_onnx(make_pipeline(scaler, model), …)"
    )
    content: bytes
    session: Any
    names: tuple[str, ...]
    dtypes: tuple[str, ...]
    shapes: tuple[tuple[int | None, ...], ...]
    categories: Mapping[str, Labels] = field(default_factory=dict)
    labels: Labels = ()
    chosen: str | int | None = None

    @classmethod
    def of(cls, model: Any) -> "OnnxModel":
        """model: an onnx.ModelProto, the path or address of a file, or its bytes. Raises InvalidInput, ModelFault."""
        content, given = _read(model)
        made, categories = make_servable(given)
        if content is None or made != given:
            content = made.SerializeToString()
        session = open_session(content, ONNX_FILE, 0, ml=True)
        inputs = [_described(end) for end in session.get_inputs()]
        names, dtypes = tuple(name for name, _, _ in inputs), tuple(dtype for _, dtype, _ in inputs)
        shapes = tuple(shape for _, _, shape in inputs)
        return cls(content, session, names, dtypes, shapes, categories, class_labels(given.graph))

    def with_output(self, choice: OutputChoice) -> "OnnxModel":
        """The same model with the chosen output, by name or number. Raises InvalidInput, which lists the outputs."""
        if choice.reduce or not isinstance(choice.output, str | int | None):
            raise InvalidInput(
                "an ONNX model is served as it is: output must be one of its outputs, and reduce is not possible;"
                " reduce or join the outputs before the model is converted"
            )
        changed = replace(self, chosen=choice.output)
        assert changed.tensor
        return changed

    @property
    def tensor(self) -> str:
        """The name of the output that is served: the chosen one, or the only one of floating-point numbers.

        Raises InvalidInput, which lists the outputs.
        """
        outputs = {end.name: dtype_of(end) for end in self.session.get_outputs()}
        scores: list[str] = [name for name, dtype in outputs.items() if dtype in {"float32", "float64"}]
        if self.chosen is None and len(scores) == 1:
            return scores[0]
        chosen = dict(enumerate(outputs)).get(self.chosen, self.chosen)  # type: ignore[arg-type]
        if chosen not in scores:
            words = "choose one of them with output" if scores else "an output of float32 or float64 is needed"
            listed = ", ".join(f"{name} ({dtype})" for name, dtype in outputs.items())
            raise InvalidInput(f"the outputs of the ONNX model are {listed}; {words}")
        return str(chosen)

    def run(self, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
        """The output for rows, (rows, …) by input. Raises InvalidInput, ModelFault, and what ONNX Runtime raises."""
        table: np.ndarray = self.session.run([self.tensor], dict(arrays))[0]
        rows = len(next(iter(arrays.values())))
        if len(table) != rows:
            raise ModelFault(
                f'the output "{self.tensor}" has shape {table.shape} for {rows} rows; (rows, outputs) is needed:'
                " convert a model with several targets as one model for each target"
            )
        return table

    def files(self, arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
        """The content of model.onnx."""
        return {ONNX_FILE: self.content}


def _read(model: Any) -> tuple[bytes | None, Any]:
    """The bytes of a file, if it is complete in itself, and the model. Raises InvalidInput."""
    if isinstance(model, onnx.ModelProto):
        return None, model
    try:
        if is_path := isinstance(model, str | os.PathLike):
            with open_bytes(model) as file:
                content = file.read()
        else:
            content = bytes(model)
        proto = onnx.load_model_from_string(content)
        is_outside = onnx.external_data_helper.uses_external_data
        if is_path and any(map(is_outside, proto.graph.initializer)):
            if is_address(model):
                raise InvalidInput(f"{model}: has weights in other files; download all of them, and give the path")
            return None, onnx.load(model)  # with the weights that lie in other files beside it
    except WhyserveError:  # of an object store
        raise
    except OSError as error:
        raise InvalidInput(f"{model}: cannot be read: {error.strerror}") from error
    except Exception as error:  # protobuf and onnx have types of their own
        raise InvalidInput(f"not an ONNX file: {first_line(error)}") from error
    return content, proto


def _described(end: Any) -> tuple[str, str, tuple[int | None, ...]]:
    """The name of an input, its dtype and the shape of a row. Raises ModelFault if no request can hold the input."""
    dtype = dtype_of(end)
    if dtype not in get_args(DType):
        raise ModelFault(
            f'input "{end.name}" takes {dtype}; convert the model with an input of {", ".join(get_args(DType))}'
        )
    if not end.shape:
        raise ModelFault(f'input "{end.name}" has no shape; convert the model with an input of shape (rows, …)')
    check_free_rows(end, ONNX_FILE)
    return end.name, dtype, tuple(size if isinstance(size, int) else None for size in end.shape[1:])
