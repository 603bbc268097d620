"""A Keras model to ONNX, in a process where Keras runs on TensorFlow."""

import os
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "tensorflow")

import numpy as np
import onnx
import tensorflow as tf
import tf2onnx

from whyserve.errors import ModelFault, first_line
from whyserve.export.stages.keras_ops import HANDLERS, traced_in_line
from whyserve.export.stages.stage import ORIGINAL_FILE, Task, in_batches, main
from whyserve.model.keras_file import keras_order, open_keras
from whyserve.model.manifest import ONNX_FILE
from whyserve.model.rows import Arrays
from whyserve.model.spec import KERAS_FILE, ModelSpec

OPSET = 18


def export(task: Task) -> None:
    spec = task.spec()
    place = f"{spec.name}/{KERAS_FILE}"
    try:
        model = open_keras(task.read(KERAS_FILE))
    except ValueError as error:
        raise ModelFault(f"{place}: {first_line(error)}") from error
    order = keras_order(spec, [tensor.name for tensor in model.inputs])

    def call(*inputs: tf.Tensor) -> tf.Tensor:
        given = [inputs[position] for position in order]
        return model(given if len(given) > 1 else given[0], training=False)

    outputs = in_batches(lambda rows: np.asarray(call(*_tensors(spec, rows))), task.rows())
    np.save(Path(task.work, ORIGINAL_FILE), outputs)
    # from_keras raises KeyError on a Keras 3 Sequential (tensorflow-onnx#2448); a traced function does not.
    signature = [tf.TensorSpec((None, *item.row_shape), item.dtype, name=item.name) for item in spec.inputs]
    function = tf.function(call)
    with traced_in_line():
        concrete = function.get_concrete_function(*signature)
    proto, _ = tf2onnx.convert.from_function(
        function, input_signature=signature, opset=OPSET, custom_op_handlers=HANDLERS
    )
    _check_operators(place, proto)
    _keep_constants(proto, concrete.graph, {item.name for item in spec.inputs})
    _name_output(proto, spec.output.tensor)
    Path(task.work, ONNX_FILE).write_bytes(proto.SerializeToString())


def _check_operators(place: str, proto) -> None:  # type: ignore[no-untyped-def]
    """tf2onnx leaves an operation that it has no translation for in the graph, under TensorFlow's name."""
    known = {schema.name for schema in onnx.defs.get_all_schemas()}
    foreign = sorted({node.op_type for node in proto.graph.node} - known)
    if foreign:
        raise ModelFault(
            f"{place}: ONNX has no operation for TensorFlow's {', '.join(foreign)};"
            " build that layer from other operations"
        )


def _tensors(spec: ModelSpec, rows: Arrays) -> list[tf.Tensor]:
    return [tf.constant(rows[item.name]) for item in spec.inputs]


def _keep_constants(proto, graph: tf.Graph, inputs: set[str]) -> None:  # type: ignore[no-untyped-def]
    """Make weights of what tf2onnx takes for inputs.

    Keras keeps some state (a Normalization's mean) as plain tensors. TensorFlow traces them as constants and lists
    them among the function's captures too, and tf2onnx then asks every caller for them.
    """
    used = {name for node in proto.graph.node for name in node.input}
    for value in [value for value in proto.graph.input if value.name not in inputs]:
        proto.graph.input.remove(value)
        if value.name in used:
            constant = graph.get_operation_by_name(value.name.removesuffix(":0")).get_attr("value")
            proto.graph.initializer.append(onnx.numpy_helper.from_array(tf.make_ndarray(constant), value.name))


def _name_output(proto, name: str) -> None:  # type: ignore[no-untyped-def]  # an onnx.ModelProto
    """Give the one output the name of model.toml; tf2onnx calls it after TensorFlow's identity."""
    output = proto.graph.output[0]
    old, output.name = output.name, name
    for node in proto.graph.node:
        node.output[:] = [name if value == old else value for value in node.output]
        node.input[:] = [name if value == old else value for value in node.input]


if __name__ == "__main__":
    main(export)
