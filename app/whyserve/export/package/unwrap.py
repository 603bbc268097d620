"""The network itself: without the wrappers of training, on the CPU, in eval mode."""

import copy
from typing import Any

import torch
from torch import nn

from whyserve.errors import ModelFault

# The attribute that holds the wrapped network, by the class of the wrapper.
WRAPPERS = {
    "OptimizedModule": "_orig_mod",
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
    "_FabricModule": "module",
}
QUANTISED = ("torch.ao.nn.quantized", "torch.ao.nn.intrinsic.quantized", "bitsandbytes", "torchao")


def unwrapped(model: nn.Module) -> nn.Module:
    """A copy of the network in `model`, so that the caller's one keeps its mode, device and precision.

    Raises ModelFault for a quantised network, and for a module without a forward method.
    """
    model = _without_wrapper(model)
    _check_quantised(model)
    _check_forward(model)
    # Tensors that a module computed, such as the weight of weight_norm, cannot be copied with their gradients.
    held = [each for module in model.modules() for each in vars(module).values() if torch.is_tensor(each)]
    computed = {id(each): each.detach().clone() for each in held if not each.is_leaf}
    with torch.no_grad():  # the copied parameters of TorchScript are results of clone()
        network = copy.deepcopy(model, computed)
    network = network.cpu().eval()
    if callable(choose := getattr(network, "set_attn_implementation", None)):
        # On a row of padding alone, the fused attention of torch and that of ONNX Runtime differ.
        choose("eager")
    for module in list(network.modules()):
        for name, child in module.named_children():
            if (inner := _without_wrapper(child)) is not child:
                setattr(module, name, inner)
    return network


def _without_wrapper(model: nn.Module) -> nn.Module:
    while (attribute := WRAPPERS.get(type(model).__name__)) and isinstance(
        inner := getattr(model, attribute), nn.Module
    ):
        model = inner
    return model


def _check_quantised(model: nn.Module) -> None:
    for name, held in [*model.named_modules(), *model.named_parameters(), *model.named_buffers()]:
        kind = type(held)
        packed = torch.is_tensor(held) and (held.is_quantized or "float8" in str(held.dtype))
        if packed or kind.__module__.startswith(QUANTISED):
            what = f"{kind.__module__}.{kind.__name__}{f' of {held.dtype}' if torch.is_tensor(held) else ''}"
            raise ModelFault(
                f'"{name}" of the network is quantised ({what}), which has no gradients and no exact ONNX form;'
                " package the network as it was before the quantisation"
            )


def _check_forward(model: nn.Module) -> None:
    forward: Any = None if isinstance(model, torch.jit.ScriptModule) else type(model).forward
    if forward is nn.Module.forward or getattr(forward, "__qualname__", "") == "LightningModule.forward":
        parts = ", ".join(name for name, _ in model.named_children())
        raise ModelFault(
            f"{type(model).__name__} has no forward method; define it, or give the network that it holds"
            f" ({parts or 'it holds none'})"
        )
