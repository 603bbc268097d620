"""Make an ONNX graph servable: the edits that a file needs so that rows of named columns can be sent to it.

Most files need none. An edit adds nodes in front of an input or behind an output; the model itself stays as it is.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx

from whyserve.errors import ModelFault
from whyserve.export.package.background import identifier
from whyserve.export.stages.onnx_logits import rename_tensor
from whyserve.onnx.graph_check import DOMAINS

Labels = tuple[str, ...]
# The operators that state every category of a column of text, and the attribute that holds them.
ENCODERS = {"OneHotEncoder": "cats_strings", "LabelEncoder": "keys_strings"}
# The operators that converters put between a column and its encoder.
PASS_ON = {"Gather", "ArrayFeatureExtractor", "Reshape", "Flatten", "Identity"}


def class_labels(graph: Any) -> Labels:
    """The labels of a classifier in the order of its scores; empty if the graph does not state one list of them."""
    stated = {
        tuple(text.decode() for text in attribute.strings) or tuple(map(str, attribute.ints))
        for node in graph.node
        for attribute in node.attribute
        if re.match("classlabels_", attribute.name)
    } - {()}
    return stated.pop() if len(stated) == 1 else ()


def make_servable(model: Any) -> tuple[Any, dict[str, Labels]]:
    """The model with the edits, and the categories of each input of text. The given model is not changed.

    - A function is replaced by its operators.
    - ZipMap, which makes a list of dicts of a table of scores, is left out.
    - An input of text becomes an input of codes, if encoders state its categories.
    - An input of shape (rows,) gets the shape (rows, 1).
    - Names of inputs and outputs become identifiers.

    Raises ModelFault.
    """
    if model.functions:
        from onnx.inliner import inline_local_functions  # noqa: PLC0415

        model = inline_local_functions(model)
    edited = onnx.ModelProto()
    edited.CopyFrom(model)
    graph = edited.graph
    categories: dict[str, Labels] = {}
    front, behind = [], []
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "ZipMap":
            node.op_type, node.domain = "Identity", ""
            del node.attribute[:]
            for output in graph.output:
                if output.name == node.output[0]:
                    output.ClearField("type")  # ONNX Runtime infers it
    for value in graph.input:
        if value.name not in constants:
            stated, nodes = _front(value, graph)
            front += nodes
            categories |= stated
    for value in graph.output:
        if (name := identifier(value.name)) != value.name:
            behind.append(onnx.helper.make_node("Identity", [value.name], [name]))
            value.name = name
    if front or behind:
        nodes = [*front, *graph.node, *behind]
        del graph.node[:]
        graph.node.extend(nodes)
    if edited != model and not any(each.domain in DOMAINS for each in edited.opset_import):
        edited.opset_import.append(onnx.helper.make_opsetid("", 13))  # a forest alone has operators of ai.onnx.ml only
    return edited, categories


def _front(value: Any, graph: Any) -> tuple[dict[str, Labels], list[Any]]:
    """Edit one input. Returns its categories, if it takes text, and the nodes that turn the new input into the old."""
    old, new, tensor = value.name, identifier(value.name), value.type.tensor_type
    categories: dict[str, Labels] = {}
    steps: list[tuple[str, np.ndarray]] = []
    if len(tensor.shape.dim) == 1:
        steps.append(("Reshape", np.array([-1])))
        tensor.shape.dim.add().dim_value = 1
    if tensor.elem_type == onnx.TensorProto.STRING:
        categories = {new: _categories(value, graph)}
        steps.append(("Gather", np.array(categories[new], object)))
        tensor.elem_type = onnx.TensorProto.INT64
    value.name, at, nodes = new, new, []
    for number, (operator, array) in enumerate(steps):
        constant, after = f"{old}__constant_{number}", f"{old}__{number}"
        held = onnx.numpy_helper.from_array(array, constant)
        given = [constant, at] if operator == "Gather" else [at, constant]
        nodes += [
            onnx.helper.make_node("Constant", [], [constant], value=held),
            onnx.helper.make_node(operator, given, [after]),
        ]
        at = after
    if at != old:
        rename_tensor(graph, old, at)
    return categories, nodes


def _categories(value: Any, graph: Any) -> Labels:
    """The categories of an input of text, which the encoders that read it state. Raises ModelFault if none does."""
    readers = list(_readers(value.name, graph))
    stated = {
        tuple(text.decode() for text in attribute.strings)
        for node in readers
        for attribute in node.attribute
        if attribute.name == ENCODERS.get(node.op_type)
    }
    if len(stated) != 1 or () in stated or any(node.op_type not in ENCODERS for node in readers):
        raise ModelFault(
            f'input "{value.name}" takes text, and its categories are not known; convert the model with one input for'
            " each column, as skl2onnx.to_onnx(model, table[:1]) does for a DataFrame, and with a OneHotEncoder or"
            " OrdinalEncoder for each column of text; encode other text before the model"
        )
    return stated.pop()


def _readers(name: str, graph: Any) -> Iterator[Any]:
    for node in graph.node:
        if name in node.input and node.op_type in PASS_ON:
            yield from _readers(node.output[0], graph)
        elif name in node.input:
            yield node
