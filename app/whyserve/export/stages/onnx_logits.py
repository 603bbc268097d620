"""Let an ONNX graph that ends in softmax or sigmoid also return the argument of this operation, the logits."""

from typing import Any

import onnx

from whyserve.model.manifest import LOGITS

# Operators that may follow: they keep the numbers.
KEEP = {"Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten"}


def with_logits(content: bytes, output: str) -> bytes | None:
    """The file with one more output, LOGITS; None if its graph does not end so. output: the name of the other one."""
    proto = onnx.load_model_from_string(content)
    graph = proto.graph
    made_by = {name: node for node in graph.node for name in node.output}
    node = made_by.get(output)
    while node is not None and node.op_type in KEEP:
        node = made_by.get(node.input[0])
    if node is None or node.op_type not in {"Softmax", "Sigmoid"} or node.input[0] not in made_by:
        return None
    logits = node.input[0]
    if logits in {value.name for value in graph.output}:
        return None
    element = next(value.type.tensor_type.elem_type for value in graph.output if value.name == output)
    rename_tensor(graph, logits, LOGITS)
    graph.output.append(onnx.helper.make_tensor_value_info(LOGITS, element, None))
    made: bytes = proto.SerializeToString()
    return made


def rename_tensor(graph: Any, old: str, new: str) -> None:
    """Rename a tensor in all nodes of an onnx.GraphProto, and in the graphs inside its nodes."""
    for node in graph.node:
        node.output[:] = [new if name == old else name for name in node.output]
        node.input[:] = [new if name == old else name for name in node.input]
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs] if attribute.type in {5, 10} else ():
                rename_tensor(inner, old, new)
