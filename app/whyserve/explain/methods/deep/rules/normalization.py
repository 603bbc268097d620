"""Layer, group, instance and RMS norm: (u − mean u)/σ, as a product of what is centred and 1/σ.

Each side of the product counts at the other's midpoint, and 1/σ changes with the squares by its own quotient, so that
no part is larger than the sides of the pair allow. The path integral along the straight line between the pair sums
as well, and passes where σ is near 0 when the two sides are opposite: it was up to ten times further from exact values.
"""

from math import prod

import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule


def standardised(
    x: torch.Tensor, x0: torch.Tensor, g: torch.Tensor, dims: tuple[int, ...], *, eps: float, centred: bool
) -> torch.Tensor:
    """Multipliers of x, for a multiplier g of the standardised x over `dims`.

    With u centred, v = mean u² + eps and r = v^(−1/2): Δ(u r) = Δu r̄ + ū Δr and Δr = −r r₀/(1/r + 1/r₀) mean 2ū Δu.
    """
    if centred:
        x, x0 = x - x.mean(dims, keepdim=True), x0 - x0.mean(dims, keepdim=True)
    root, root0 = ((side * side).mean(dims, keepdim=True).add_(eps).sqrt_() for side in (x, x0))
    twice = x + x0
    drawn = (g * twice).mean(dims, keepdim=True)
    result = g * ((root + root0) / (2 * root * root0)) - twice * (drawn / (2 * root * root0 * (root + root0)))
    return result - result.mean(dims, keepdim=True) if centred else result


@rule("aten.native_layer_norm")
def layer(step: Step, program: Program) -> BoundRule | None:
    """Over the last dimensions, then scaled by a constant weight."""
    x, shape, weight, _, eps = step.args
    if step.live != (x.slot,) or program.dims[x.slot].batch >= len(program.dims[x.slot].multiples) - len(shape):
        return None
    scale = None if weight is None else program.constants[weight.slot]
    dims = tuple(range(-len(shape), 0))

    def back(pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        _only_first(step, g)
        wide = pairs.expand_pairs(x.slot, g[0] if scale is None else g[0] * scale, rows)
        yield x.slot, standardised(*pairs.both(x.slot), wide, dims, eps=eps, centred=True)

    return BoundRule(step.slot, step.name, back, frozenset((x.slot,)))


@rule("aten._fused_rms_norm", "aten.rms_norm")
def root_mean_square(step: Step, program: Program) -> BoundRule | None:
    """As layer norm, not centred (Zhang & Sennrich 2019)."""
    x, shape, weight, eps = (*step.args, None, None)[:4]
    if step.live != (x.slot,):
        return None
    scale = None if weight is None else program.constants[weight.slot]
    dims = tuple(range(-len(shape), 0))

    def back(pairs: Pairs, g: dict[int, torch.Tensor] | torch.Tensor, rows: int) -> Shares:
        first = g if isinstance(g, torch.Tensor) else g[0]
        wide = pairs.expand_pairs(x.slot, first if scale is None else first * scale, rows)
        least = torch.finfo(pairs.dtype).eps if eps is None else eps
        yield x.slot, standardised(*pairs.both(x.slot), wide, dims, eps=least, centred=False)

    return BoundRule(step.slot, step.name, back, frozenset((x.slot,)))


@rule("aten.native_group_norm")
def group(step: Step, program: Program) -> BoundRule | None:
    """Over the channels of a group and all positions."""
    x, weight, _, _, channels, positions, groups, eps = step.args
    if step.live != (x.slot,):
        return None
    shape = program.dims[x.slot].multiples
    scale = None if weight is None else program.constants[weight.slot].reshape(-1, *[1] * (len(shape) - 2))
    assert prod(shape[1:]) == channels * positions

    def back(pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        _only_first(step, g)
        wide = pairs.expand_pairs(x.slot, g[0] if scale is None else g[0] * scale, rows)
        u, u0, v = (part.reshape(part.shape[0], groups, -1) for part in (*pairs.both(x.slot), wide))
        yield x.slot, standardised(u, u0, v, (-1,), eps=eps, centred=True).reshape(wide.shape)

    return BoundRule(step.slot, step.name, back, frozenset((x.slot,)))


@rule("aten._native_batch_norm_legit", "aten._native_batch_norm_legit_functional", "aten.native_batch_norm")
def instance(step: Step, program: Program) -> BoundRule | None:
    """Batch norm by the statistics at hand: instance norm where rows and channels are one dimension."""
    x, weight = step.args[0], step.args[1]
    if step.live != (x.slot,):
        return None
    if program.dims[x.slot].batch != 1:
        raise UnsupportedNetwork(
            f"{step.name} normalises over the rows of the batch, as batch norm in training mode does: an answer for"
            " one row would depend on the others"
        )
    eps = step.args[-1]
    axes = tuple(i for i in range(len(program.dims[x.slot].multiples)) if i != 1)

    def back(pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        _only_first(step, g)
        wide = pairs.expand_pairs(x.slot, g[0], rows)
        if isinstance(weight, Ref):
            wide = wide * pairs.around(pairs.count)[weight.slot].reshape(-1, *[1] * (len(axes) - 1))
        yield x.slot, standardised(*pairs.both(x.slot), wide, axes, eps=eps, centred=True)

    return BoundRule(step.slot, step.name, back, frozenset((x.slot,)))


def _only_first(step: Step, g: dict[int, torch.Tensor]) -> None:
    if set(g) - {0}:
        raise UnsupportedNetwork(f"{step.name} gives its mean or deviation to the network, which has no rule")
