"""Layer, group and instance norm: (x − mean x)/σ, as the product of the centred x and 1/σ.

Each factor's multiplier is the other factor's midpoint, and 1/σ has the slope of 1/√v in the mean square v. No share
is then larger than the two sides allow, and nothing is divided by a difference. The path integral along the straight
line between the two sides also adds up, but it passes σ near 0 when the sides are opposite: it was up to ten times
further from exact values.
"""

from math import prod
from typing import Any

import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares, first_result
from whyserve.explain.methods.deep.pairs import Pairs


def standardised(
    x: torch.Tensor, x0: torch.Tensor, g: torch.Tensor, dims: tuple[int, ...], *, eps: float
) -> torch.Tensor:
    """Multipliers of x, for a multiplier g of x standardised over `dims`.

    With u = x − mean x, v = mean u² + eps and r = 1/√v: Δ(u r) = Δu r̄ + ū Δr and Δr = −r r₀/(1/r + 1/r₀) mean 2ū Δu.
    """
    x, x0 = x - x.mean(dims, keepdim=True), x0 - x0.mean(dims, keepdim=True)
    root, root0 = ((side * side).mean(dims, keepdim=True).add_(eps).sqrt_() for side in (x, x0))
    twice = x + x0
    drawn = (g * twice).mean(dims, keepdim=True)
    result = g * ((root + root0) / (2 * root * root0)) - twice * (drawn / (2 * root * root0 * (root + root0)))
    return result - result.mean(dims, keepdim=True)


def layer(step: Step, program: Program) -> BoundRule | None:
    """Over the last dimensions, with a constant weight."""
    x, shape, weight, _, eps = step.args
    if step.live != (x.slot,) or program.dims[x.slot].batch >= len(program.dims[x.slot].multiples) - len(shape):
        return None
    scale = None if weight is None else program.constants[weight.slot]
    dims = tuple(range(-len(shape), 0))

    def back(pairs: Pairs, g: Any, rows: int) -> Shares:
        g = first_result(step, g)
        wide = pairs.expand_pairs(x.slot, g if scale is None else g * scale, rows)
        yield x.slot, standardised(*pairs.both(x.slot), wide, dims, eps=eps)

    return BoundRule(step.slot, step.name, back, frozenset((x.slot,)))


def group(step: Step, program: Program) -> BoundRule | None:
    """Over all channels of a group and all positions."""
    x, weight, _, _, channels, positions, groups, eps = step.args
    if step.live != (x.slot,):
        return None
    shape = program.dims[x.slot].multiples
    scale = None if weight is None else program.constants[weight.slot].reshape(-1, *[1] * (len(shape) - 2))
    assert prod(shape[1:]) == channels * positions

    def back(pairs: Pairs, g: Any, rows: int) -> Shares:
        g = first_result(step, g)
        wide = pairs.expand_pairs(x.slot, g if scale is None else g * scale, rows)
        u, u0, v = (part.reshape(part.shape[0], groups, -1) for part in (*pairs.both(x.slot), wide))
        yield x.slot, standardised(u, u0, v, (-1,), eps=eps).reshape(wide.shape)

    return BoundRule(step.slot, step.name, back, frozenset((x.slot,)))


def instance(step: Step, program: Program) -> BoundRule | None:
    """Batch norm with the statistics of its own input: instance norm, with rows and channels as one dimension."""
    x, weight = step.args[0], step.args[1]
    if step.live != (x.slot,):
        return None
    if program.dims[x.slot].batch != 1:
        raise UnsupportedNetwork(
            f"{step.name} normalises over the rows of the batch, as batch norm in training mode does, so the output of"
            " one row depends on the others"
        )
    eps = step.args[-1]
    axes = tuple(i for i in range(len(program.dims[x.slot].multiples)) if i != 1)

    def back(pairs: Pairs, g: Any, rows: int) -> Shares:
        wide = pairs.expand_pairs(x.slot, first_result(step, g), rows)
        if isinstance(weight, Ref):
            wide = wide * pairs.fixed_values(pairs.count)[weight.slot].reshape(-1, *[1] * (len(axes) - 1))
        yield x.slot, standardised(*pairs.both(x.slot), wide, axes, eps=eps)

    return BoundRule(step.slot, step.name, back, frozenset((x.slot,)))
