"""Quick convolutions of one pixel, as in MobileNet, EfficientNet and ResNet."""

from typing import Any

import torch
from torch.overrides import TorchFunctionMode

# On one thread, torch computes a convolution of one pixel without oneDNN if it gets fewer rows, more slowly.
ONE_DNN_ROWS = 16
CONVOLUTIONS = {torch.conv2d, torch.ops.aten.conv2d.default}


class QuickPointwise(TorchFunctionMode):
    """Computes convolutions of one pixel with oneDNN, without gradients. Other operations run as they are."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in CONVOLUTIONS and len(args) == 7 and not kwargs:
            x, weight, bias, stride, padding, dilation, groups = args
            is_pointwise = weight.shape[2:] == (1, 1) and isinstance(padding, tuple | list)
            if is_pointwise and x.dtype is torch.float32 and torch._C._has_mkldnn:
                return torch.mkldnn_convolution(x, weight, bias, padding, stride, dilation, groups)
        return func(*args, **(kwargs or {}))
