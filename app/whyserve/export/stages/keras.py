"""The Keras stage of an export: a Keras model becomes ONNX, in a process in which Keras runs on TensorFlow."""

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from whyserve.errors import ModelFault, first_line
from whyserve.export.progress import step
from whyserve.export.stages.keras_ops import HANDLERS, traced_inline
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
    _check_operators(place, proto)
    _keep_constants(proto, concrete.graph, {item.name for item in spec.inputs})
    _name_output(proto, spec.output.tensor)
    task.path(ONNX_FILE).write_bytes(proto.SerializeToString())


def _check_operators(place: str, proto) -> None:  # type: ignore[no-untyped-def]
    """Raises ModelFault for an operation that tf2onnx could not convert; it leaves such a node in the graph."""
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    foreign = sorted({node.op_type for node in proto.graph.node} - known)
    if foreign:
        raise ModelFault(f"{place}: {no_onnx_operation('TensorFlow', foreign)}")


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


def _name_output(proto, name: str) -> None:  # type: ignore[no-untyped-def]  # an onnx.ModelProto
    """Rename the output of the graph to the name in model.toml; tf2onnx names it after a node of TensorFlow."""
    output = proto.graph.output[0]
    old, output.name = output.name, name
    for node in proto.graph.node:
        node.output[:] = [name if value == old else value for value in node.output]
        node.input[:] = [name if value == old else value for value in node.input]
