"""The Keras stage of an export: a Keras model becomes ONNX, in a process in which Keras runs on TensorFlow."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx
from tf2onnx.utils import map_onnx_to_numpy_type

from whyserve.errors import ModelFault, first_line
from whyserve.export.progress import step
from whyserve.export.stages.onnx_logits import rename_tensor
from whyserve.export.stages.stage import Table, Task, no_onnx_operation, original_outputs
from whyserve.model.keras_file import keras_order, open_keras
from whyserve.model.rows import Arrays
from whyserve.model.spec import KERAS_FILE, ONNX_FILE

OPSET = 18


def export(task: Task) -> None:
    spec = task.spec()
    step(f"{spec.name}: exporting from Keras to ONNX")
    place = f"{spec.name}/{KERAS_FILE}"
    try:
        model = open_keras(task.read(KERAS_FILE))
    except ValueError as error:
        raise ModelFault(f"{place}: {first_line(error)}") from error
    order = keras_order(spec, [tensor.name for tensor in model.inputs])

    def call(*inputs: tf.Tensor) -> tf.Tensor:
        given = [inputs[position] for position in order]
        return model(given if len(given) > 1 else given[0], training=False)

    def run(rows: Arrays) -> np.ndarray:
        return np.asarray(call(*(tf.constant(rows[item.name]) for item in spec.inputs)))

    task.save(Table.ORIGINAL, original_outputs(task, spec, run))
    # from_keras raises KeyError on a Keras 3 Sequential (tensorflow-onnx#2448); a traced function does not.
    signature = [tf.TensorSpec((None, *item.row_shape), item.dtype, name=item.name) for item in spec.inputs]
    function = tf.function(call)
    with traced_inline():
        concrete = function.get_concrete_function(*signature)
    proto, _ = tf2onnx.convert.from_function(
        function, input_signature=signature, opset=OPSET, custom_op_handlers=HANDLERS
    )
    # tf2onnx leaves an operation that it cannot convert in the graph.
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    if foreign := sorted({node.op_type for node in proto.graph.node} - known):
        raise ModelFault(f"{place}: {no_onnx_operation('TensorFlow', foreign)}")
    _keep_constants(proto, concrete.graph, {item.name for item in spec.inputs})
    # tf2onnx names the output after a node of TensorFlow.
    rename_tensor(proto.graph, proto.graph.output[0].name, spec.output.tensor)
    proto.graph.output[0].name = spec.output.tensor
    task.path(ONNX_FILE).write_bytes(proto.SerializeToString())


def _keep_constants(proto, graph: tf.Graph, inputs: set[str]) -> None:  # type: ignore[no-untyped-def]
    """Turn graph inputs that are no inputs of the model into weights.

    Keras keeps some state, such as the mean of a Normalization, as plain tensors. TensorFlow traces them as constants
    and also lists them among the captures of the function. tf2onnx then makes them inputs of the graph.
    """
    used = {name for node in proto.graph.node for name in node.input}
    for value in [value for value in proto.graph.input if value.name not in inputs]:
        proto.graph.input.remove(value)
        if value.name in used:
            constant = graph.get_operation_by_name(value.name.removesuffix(":0")).get_attr("value")
            proto.graph.initializer.append(onnx.numpy_helper.from_array(tf.make_ndarray(constant), value.name))


def _difference(operator: str, one_first: bool, context: Any, node: Any, name: str, _: Any) -> Any:
    """1 − operator(x), or operator(x) − 1."""
    dtype = context.get_dtype(node.input[0])
    shape = context.get_shape(node.output[0])
    one = context.make_const(f"{name}__one", np.ones((), map_onnx_to_numpy_type(dtype))).output[0]
    inner = context.make_node(operator, [node.input[0]], name=f"{name}__{operator}").output[0]
    context.remove_node(name)
    given = [one, inner] if one_first else [inner, one]
    return context.make_node("Sub", given, outputs=[node.output[0]], name=name, dtypes=[dtype], shapes=[shape])


# The exact gelu of Keras uses erfc(x) = 1 − erf(x), and its celu uses expm1(x) = exp(x) − 1.
HANDLERS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "Erfc": (partial(_difference, "Erf", True), []),
    "Expm1": (partial(_difference, "Exp", False), []),
}


@contextmanager
def traced_inline() -> Iterator[None]:
    """Make Keras trace a convolution in groups inline, not as a call of a compiled function, which ONNX does not have.

    Keras compiles such a convolution because TensorFlow cannot run it on a CPU. Here it is only traced.
    """
    compiled = tf.function

    def plain(function: Any = None, **_: Any) -> Any:
        return function if function is not None else lambda given: given

    tf.function = plain
    try:
        yield
    finally:
        tf.function = compiled
