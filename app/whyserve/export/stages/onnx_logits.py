"""Let an ONNX graph that ends in softmax or sigmoid also return the argument of this operation, the logits."""

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
    for each in graph.node:
        each.output[:] = [LOGITS if name == logits else name for name in each.output]
        each.input[:] = [LOGITS if name == logits else name for name in each.input]
    graph.output.append(onnx.helper.make_tensor_value_info(LOGITS, element, None))
    made: bytes = proto.SerializeToString()
    return made
