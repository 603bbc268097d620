"""Functions of eight numbers for which the rule is exact: linear ones, products of two, and sums of one-player parts.

Each takes x (N, 8), and its attributions are those of exact enumeration.
"""

import torch
import torch.nn.functional as F

from tests.explain.methods.deep.rules.case import Case

aten = torch.ops.aten


def weights(*shape: int) -> torch.Tensor:
    """Constants, the same at every call."""
    return torch.linspace(-1, 1.3, torch.Size(shape).numel(), dtype=torch.float64).reshape(shape).sin()


def plane(x: torch.Tensor) -> torch.Tensor:
    """(N, 1, 2, 4)."""
    return x.reshape(-1, 1, 2, 4)


def solid(x: torch.Tensor) -> torch.Tensor:
    """(N, 1, 2, 2, 2)."""
    return x.reshape(-1, 1, 2, 2, 2)


def halves(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, 2, 2) and (N, 2, 2)."""
    return x[:, :4].reshape(-1, 2, 2), x[:, 4:].reshape(-1, 2, 2)


def beside(x: torch.Tensor) -> torch.Tensor:
    """(N, 8, 4): each number between constants, so that a maximum over the last dimension has one player."""
    constants = torch.tensor([-0.4, 0.1, 0.3]).double().expand(x.shape[0], 8, 3)
    return torch.cat([constants[..., :1], x[..., None], constants[..., 1:]], -1)


def whole(x: torch.Tensor) -> torch.Tensor:
    """(N, 8) integers in 0 … 3."""
    return (x * 2 + 1.5).clamp(0, 3).long()


LINEAR = {
    "_adaptive_avg_pool2d": lambda x: F.adaptive_avg_pool2d(plane(x), (2, 3)),
    "_adaptive_avg_pool3d": lambda x: F.adaptive_avg_pool3d(x.reshape(-1, 1, 1, 2, 4), (1, 2, 3)),
    "_native_batch_norm_legit_no_training": lambda x: F.batch_norm(
        x.reshape(-1, 2, 4), weights(2), weights(2).abs(), weights(2) * 3, weights(2)
    ),
    "add broadcast": lambda x: x[:, :4, None] + x[:, None, 4:],
    "addmm": lambda x: torch.addmm(weights(3), x, weights(8, 3)),
    "addmm scaled": lambda x: torch.addmm(x[:, :3], x, weights(8, 3), alpha=2, beta=0.5),
    "avg_pool2d": lambda x: F.avg_pool2d(plane(x), 2, padding=1),
    "avg_pool3d": lambda x: F.avg_pool3d(solid(x), 2, stride=1, padding=1),
    "bmm": lambda x: torch.bmm(x.reshape(-1, 2, 4), weights(1, 4, 3).expand(x.shape[0], 4, 3)),
    "cat": lambda x: torch.cat([x[:, 1:3], x], 1),
    "cat constant": lambda x: torch.cat([x[:, 1:3], torch.full_like(x, 0.5)], 1),
    "constant_pad_nd": lambda x: F.pad(x, (1, 2), value=0.3),
    "convolution": lambda x: F.conv1d(x.reshape(-1, 2, 4), weights(3, 2, 2), weights(3), padding=1),
    "convolution transposed": lambda x: F.conv_transpose1d(x.reshape(-1, 2, 4), weights(2, 3, 2), stride=2),
    "copy": lambda x: aten.copy(x[:, :4, None] * x[:, None, 4:], x[:, None, :4]),
    "cumsum": lambda x: x.cumsum(1),
    "diagonal": lambda x: halves(x)[0].diagonal(dim1=1, dim2=2),
    "mul by the reciprocal": lambda x: x[:, :, None] / (weights(3) + 2),
    "expand": lambda x: x[:, None].expand(-1, 2, -1),
    "flip": lambda x: x.flip(1),
    "full_like": lambda x: x + torch.full_like(x, 2),
    "gather": lambda x: x.gather(1, torch.tensor([[0, 3, 3]]).expand(x.shape[0], 3)),
    "getitem": lambda x: x.split([3, 5], 1)[1],
    "index": lambda x: x[:, torch.tensor([0, 3, 3])],
    "index_put": lambda x: aten.index_put(x, [None, torch.tensor([2, 5])], x[:, :2] * 2),
    "index_put added": lambda x: aten.index_put(x, [None, torch.tensor([2, 2])], x[:, :2], True),
    "index_select": lambda x: x.index_select(1, torch.tensor([7, 1, 1])),
    "mean": lambda x: x.reshape(-1, 2, 4).mean((1, 2)),
    "mean kept": lambda x: x.reshape(-1, 2, 4).mean(2, keepdim=True),
    "mm": lambda x: x @ weights(8, 3),
    "mul broadcast": lambda x: x[:, :, None] * weights(3),
    "permute": lambda x: x.reshape(-1, 2, 2, 2).permute(0, 3, 1, 2),
    "permute batch": lambda x: (x.T * 2).T,
    "repeat": lambda x: x.repeat(1, 2),
    "scatter": lambda x: x.scatter(1, torch.tensor([[1, 4]]).expand(x.shape[0], 2), x[:, 6:]),
    "scatter_add": lambda x: x.scatter_add(1, torch.tensor([[1, 1]]).expand(x.shape[0], 2), x[:, 6:]),
    "select": lambda x: x.reshape(-1, 2, 4).select(2, 1),
    "slice": lambda x: x[:, 1:7:2],
    "slice_scatter": lambda x: torch.slice_scatter(x, x[:, :2] * 3, 1, 4, 8, 2),
    "split_with_sizes": lambda x: x.split([3, 1, 4], 1)[0][:, :1] - x.split([3, 1, 4], 1)[1],
    "squeeze": lambda x: x.reshape(-1, 1, 8).squeeze(1) * 2,
    "sub broadcast": lambda x: x[:, :4, None] - x[:, None, 4:],
    "sum": lambda x: x.reshape(-1, 2, 4).sum(1),
    "sum booleans": lambda x: (x > 0).sum(1),
    "sum typed": lambda x: x.sum(1, dtype=torch.float32).double() * 0 + x.sum(1),
    "unfold": lambda x: x.unfold(1, 4, 2),
    "unsqueeze": lambda x: x.unsqueeze(2) * weights(2),
    "upsample_bilinear2d": lambda x: F.interpolate(plane(x), scale_factor=2, mode="bilinear", align_corners=True),
    "upsample_nearest2d": lambda x: F.interpolate(plane(x), scale_factor=2),
    "upsample_trilinear3d": lambda x: aten.upsample_trilinear3d.default(solid(x), [3, 3, 3], True, None, None, None),
    "view": lambda x: x.view(-1, 2, 4) * weights(4),
    "where constant": lambda x: torch.where(torch.tensor([True, False] * 4), x, 2 * x),
}

PRODUCTS = {
    "mul broadcast": lambda x: x[:, :4, None] * x[:, None, 4:],
    "mul by the reciprocal broadcast": lambda x: x[:, :2, None] / (x[:, None, 4:] ** 2 + 1),
    "reciprocal numerators": lambda x: weights(4) / (x[:, :4] ** 2 + 1),
    "bmm": lambda x: torch.bmm(*halves(x)),
    "maximum broadcast": lambda x: torch.maximum(x[:, :2, None], x[:, None, 4:]),
    "pow broadcast": lambda x: (x[:, :, None] ** 2 + 0.5) ** torch.tensor([0.5, 1.5, -1.0]).double(),
    "where choice": lambda x: torch.where(x[:, :4] > 0, x[:, 4:], 0.5),
    "any": lambda x: (x > 0).any(1),
    "any kept": lambda x: (x.reshape(-1, 4, 2) > 0.4).any(2, keepdim=True),
    "any numbers": lambda x: whole(x).reshape(-1, 2, 4).any(1),
    "logical_and": lambda x: torch.logical_and(x[:, :4] > 0, x[:, 4:] > 0),
}

# Operations taken whole, with parts that depend on one player each.
APART = {
    "embedding": lambda x: F.embedding(whole(x), weights(4, 3)),
    "index table": lambda x: weights(4, 3)[whole(x)],
    "index_select table": lambda x: weights(4, 3).index_select(0, whole(x)[:, 0]),
    "index numbers": lambda x: weights(4)[whole(x)],
    "amax": lambda x: beside(x).amax(-1),
    "amin": lambda x: beside(x).amin(-1),
    "amax merged": lambda x: beside(x).reshape(-1, 4).amax(1).reshape(-1, 8) @ weights(8, 2),
    "max": lambda x: beside(x).max(-1).values,
    "min": lambda x: beside(x).min(-1).values,
    "max_pool2d_with_indices": lambda x: F.max_pool2d(beside(x).reshape(-1, 1, 8, 4), (1, 4)),
    "max_pool2d_with_indices padded": lambda x: F.max_pool2d(beside(x).unsqueeze(1), (1, 4), padding=(0, 2)),
    "max_pool3d_with_indices": lambda x: F.max_pool3d(beside(x).reshape(-1, 1, 8, 2, 2), (1, 2, 2)),
    "adaptive_max_pool2d": lambda x: F.adaptive_max_pool2d(beside(x).reshape(-1, 2, 4, 4), (4, 1)),
    "adaptive_max_pool3d": lambda x: F.adaptive_max_pool3d(beside(x).reshape(-1, 1, 8, 2, 2), (8, 1, 1)),
    "eq one hot": lambda x: (whole(x)[:, :, None] == torch.arange(4)) * weights(4),
}

CASES = [
    Case(f"aten.{name.split()[0]}" if name != "getitem" else name, function)
    for table in (LINEAR, PRODUCTS, APART)
    for name, function in table.items()
]
