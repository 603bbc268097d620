"""A torch.export program → network.py, the program as Python source, and weights.safetensors, its tensors.

torch.export.save cannot take their place, because it pickles example inputs and some tensors.
"""

from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import save
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from whyserve.errors import ModelFault
from whyserve.model.spec import NETWORK_FILE, WEIGHTS_FILE

# The global names that torch's code generator can write. A program of tensors never uses the last two.
KNOWN_GLOBALS = {"torch", "device", "inf", "nan", "math", "operator", "NoneType", "fx_pytree", "pytree"}
SOURCE = '''"""Written by whyserve.package from a torch.export program: the network as ATen operations."""

import math
import operator
from math import inf, nan

import torch
from torch import device, nn

# By the name in the program and in weights.safetensors: the name in the original network, the shape and the dtype.
TENSORS = {tensors}


{code}

class ExportedNetwork(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, (_, shape, dtype) in TENSORS.items():
            self.register_buffer(name, torch.zeros(shape, dtype=dtype))

    def forward(self, {inputs}):
        return program(self, *(getattr(self, name) for name in TENSORS), {inputs})[0]


def build() -> nn.Module:
    return ExportedNetwork()
'''


def write_program(program: ExportedProgram, names: Sequence[str]) -> dict[str, bytes]:
    """The content of network.py and weights.safetensors. names: of the inputs.

    Raises ModelFault for a program that source cannot express.
    """
    signature = program.graph_signature
    if signature.buffers_to_mutate or getattr(signature, "user_inputs_to_mutate", None):
        raise ModelFault("the network changes its buffers or inputs during a call; in eval mode, it must not")
    for node in program.graph.nodes:
        if node.op == "get_attr" or (node.op == "call_function" and not _is_torch_operation(node.target)):
            target = getattr(node.target, "__name__", str(node.target)).replace(
                "lazy_load_decompositions", "torch.vmap"
            )
            raise ModelFault(
                f"the network uses {target}, which is control flow, torch.vmap or a custom operation;"
                " use operations of torch over all rows instead, such as torch.where"
            )
    tensors, table = _tensors(program)
    # A copy of the graph as a plain one: the code of a program's own graph needs pytrees.
    graph = torch.fx.Graph()
    graph.output(graph.graph_copy(program.graph, {}))
    generated = graph.python_code("self")
    if unknown := set(generated.globals) - KNOWN_GLOBALS:
        raise ModelFault(
            f"the network uses {min(unknown)}, which is not part of torch; use operations of torch instead"
        )
    code = generated.src.strip().replace("def forward(", "def program(", 1) + "\n"
    # forward has a parameter for each input, because torch.onnx reads *inputs as one input that is a tuple.
    source = SOURCE.format(tensors=table, code=code, inputs=", ".join(names))
    return {NETWORK_FILE: source.encode(), WEIGHTS_FILE: save(tensors)}


def _is_torch_operation(target: Any) -> bool:
    if isinstance(target, torch._ops.OpOverload):
        return target.namespace in {"aten", "prim"}
    return getattr(target, "__module__", "") in {"_operator", "operator", "math", "torch", "torch._sym_ops"} or (
        getattr(target, "__name__", "").startswith("sym_")
    )


def _tensors(program: ExportedProgram) -> tuple[dict[str, torch.Tensor], str]:
    """The tensors that the program takes before its inputs, and the source of TENSORS."""
    tensors: dict[str, torch.Tensor] = {}
    lines: list[str] = []
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.USER_INPUT:
            continue
        if spec.kind not in (InputKind.PARAMETER, InputKind.BUFFER, InputKind.CONSTANT_TENSOR):
            raise ModelFault(f"the network holds {spec.target}, which is not a tensor; it may hold tensors only")
        name, key = spec.arg.name, spec.target
        held = program.state_dict.get(key, program.constants.get(key))
        assert isinstance(held, torch.Tensor), "every tensor of a program is in its state or constants"
        # Copies, because safetensors refuses two keys that share memory and a slice of a larger tensor.
        tensors[name] = held.detach().cpu().clone().contiguous()
        lines.append(f"    {name!r}: ({key.removeprefix('module.')!r}, {tuple(held.shape)}, {held.dtype}),")
    return tensors, "\n".join(["{", *lines, "}"]) if lines else "{}"
