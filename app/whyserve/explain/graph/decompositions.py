"""Decompositions of operations that have no rule into operations that have one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch._decomp import decomposition_table

aten = torch.ops.aten


def rrelu(
    x: torch.Tensor,
    noise: torch.Tensor,
    lower: float = 0.125,
    upper: float = 1 / 3,
    training: bool = False,
    _: Any = None,
) -> Any:
    """Outside training, a leaky ReLU."""
    if training:
        return NotImplemented
    return torch.nn.functional.leaky_relu(x, (lower + upper) / 2), noise


def standardised(x: torch.Tensor, axes: list[int], eps: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The centred x times 1/σ, the mean, and 1/σ.

    Each factor's multiplier is then the other factor's midpoint, so no share is larger than the two sides allow. The
    path integral along the straight line between the two sides also adds up, but it passes σ near 0 when the sides are
    opposite: it was up to ten times further from exact values.
    """
    mean = x.mean(axes, keepdim=True)
    centred = x - mean
    inverse = torch.rsqrt((centred * centred).mean(axes, keepdim=True) + eps)
    return centred * inverse, mean, inverse


def scaled(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, trailing: int) -> torch.Tensor:
    """x times weight plus bias, which belong to the dimension of x with `trailing` others after it."""
    for value, operation in ((weight, torch.mul), (bias, torch.add)):
        if value is not None:
            x = operation(x, value.reshape(*value.shape, *[1] * trailing))
    return x


def layer_norm(
    x: torch.Tensor, shape: Sequence[int], weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> Any:
    result, mean, inverse = standardised(x, list(range(-len(shape), 0)), eps)
    return scaled(result, weight, bias, 0), mean, inverse


def group_norm(  # noqa: PLR0917 — the operation's own order
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    rows: int,
    _channels: int,
    _positions: int,
    groups: int,
    eps: float,
) -> Any:
    result, mean, inverse = standardised(x.reshape(rows, groups, -1), [-1], eps)
    return scaled(result.reshape(x.shape), weight, bias, x.ndim - 2), mean[..., 0], inverse[..., 0]


def instance_norm(x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None, *rest: Any) -> Any:
    """Batch norm with the statistics of its own input: instance norm, with rows and channels as one dimension."""
    axes = [axis for axis in range(x.ndim) if axis != 1]
    result, mean, inverse = standardised(x, axes, rest[-1])
    return scaled(result, weight, bias, x.ndim - 2), mean.reshape(-1), inverse.reshape(-1)


def instance_norm_functional(x: torch.Tensor, weight: Any, bias: Any, mean: Any, variance: Any, *rest: Any) -> Any:
    """The same, with the new means and variances of training, which no output depends on."""
    return (*instance_norm(x, weight, bias, *rest), mean, variance)


def quotient(a: torch.Tensor, b: torch.Tensor) -> Any:
    """a · 1/b: the product shares the quotient exactly between a and 1/b."""
    return a * b.reciprocal() if isinstance(b, torch.Tensor) else NotImplemented


def distances(a: torch.Tensor, b: torch.Tensor, order: float, _: int | None = None) -> torch.Tensor:
    """torch.cdist: norms of the differences of every row of a and every row of b."""
    norms: torch.Tensor = torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), order, -1)
    return norms


def variance(
    x: torch.Tensor, dim: Sequence[int] | None = None, *, correction: float | None = None, keepdim: bool = False
) -> Any:
    """Squared deviations from the mean, summed and divided by n − correction."""
    axes = list(range(x.ndim)) if dim is None else list(dim)
    count = torch.Size([x.shape[axis] for axis in axes]).numel()
    apart = x - x.mean(axes, keepdim=True)
    return (apart * apart).sum(axes, keepdim) / (count - (1 if correction is None else correction))


def product(x: torch.Tensor, dim: int, keepdim: bool = False, *, dtype: Any = None) -> Any:
    """A product by pairs, pairs of pairs and so on, which keeps the number of multiplications on each factor small."""
    if dtype is not None:
        return NotImplemented
    parts = list(x.unbind(dim))
    while len(parts) > 1:
        joined = [one * other for one, other in zip(parts[::2], parts[1::2], strict=False)]
        parts = joined + parts[2 * len(joined) :]
    return parts[0].unsqueeze(dim) if keepdim else parts[0]


def trilinear(  # noqa: PLR0917 — the operation's own order
    a: torch.Tensor,
    b: torch.Tensor,
    c: torch.Tensor,
    expand_a: Sequence[int],
    expand_b: Sequence[int],
    expand_c: Sequence[int],
    summed: Sequence[int],
    unroll_dim: int = 1,
) -> torch.Tensor:
    """The sum of a product of three, as in nn.Bilinear."""
    factors = []
    for x, places in ((a, expand_a), (b, expand_b), (c, expand_c)):
        for place in sorted(places):
            x = x.unsqueeze(place)  # noqa: PLW2901
        factors.append(x)
    first, weight, last = factors
    return ((first * weight) * last).sum(list(summed))


PARTS: dict[Any, Callable[..., Any]] = {
    aten.rrelu_with_noise_functional.default: rrelu,
    aten.div.Tensor: quotient,
    aten.linalg_vector_norm.default: decomposition_table[aten.linalg_vector_norm.default],
    aten._cdist_forward.default: distances,
    aten.var.correction: variance,
    aten.prod.dim_int: product,
    aten._trilinear.default: trilinear,
    aten.native_layer_norm.default: layer_norm,
    aten.native_group_norm.default: group_norm,
    aten._native_batch_norm_legit.no_stats: instance_norm,
    aten._native_batch_norm_legit.default: instance_norm,
    aten._native_batch_norm_legit_functional.default: instance_norm_functional,
}
