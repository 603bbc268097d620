"""Maxima over windows and dimensions: the winner gets the change (cross-maximum, Lundberg & Lee 2017).

The winner is the element that is the maximum. If it did not change, the maximum did not change either, and its
multiplier is the derivative, 1. If the maximum is equal on both sides with two different winners, all multipliers are
0: the attributions add up, and the change of hands is not seen.
"""

from typing import Any

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares, first_result
from whyserve.explain.methods.deep.pairs import Pairs


def _rate(x: torch.Tensor, x0: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    moved = x - x0
    # A winner that has not moved won on both sides, where the slope is 1.
    return torch.where(moved == 0, 1.0, gain / torch.where(moved == 0, 1.0, moved))


def shares(
    x: torch.Tensor, x0: torch.Tensor, winner: torch.Tensor, winner0: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """Multipliers over the last dimension of x. winner, winner0: the places of the two sides' winners; g: of each.

    The side with the larger maximum gives y − y₀ to its own winner, whose x has changed by at least as much. All
    dimensions but the last broadcast.
    """
    y, y0 = x.gather(-1, winner), x0.gather(-1, winner0)
    place = torch.where(y >= y0, winner, winner0)
    at, at0 = (side.expand(*place.shape[:-1], -1).gather(-1, place) for side in (x, x0))
    rate = _rate(at, at0, y - y0)
    share = g * rate
    given = share.new_zeros(*share.shape[:-1], x.shape[-1])
    return given.scatter_add_(-1, place.expand(share.shape), share)


def pooled(step: Step, program: Program) -> BoundRule:
    """Over windows. The operation itself returns the winners."""
    (source,) = step.live
    dims = program.dims[source]
    spatial = 3 if "3d" in step.name else 2
    rows_first = dims.batch == 0 and dims.multiples[0] == 1

    def winners(pairs: Pairs, x: torch.Tensor, rows: int) -> torch.Tensor:
        found: torch.Tensor = step.run({source: x.reshape(dims.at(rows)), **pairs.fixed_values(rows)})[1]
        return found.reshape(*x.shape[: x.ndim - spatial], -1)

    def back(pairs: Pairs, g: Any, rows: int) -> Shares:
        g = first_result(step, g)
        if pairs.stacked or not rows_first:
            x, x0 = (side.contiguous() for side in pairs.both(source))
            wide = pairs.expand_like(source, g, rows).flatten(-spatial)
            won = [winners(pairs, side, pairs.count) for side in (x, x0)]
        else:
            # A row has the same winners in all its pairs and for all outputs, so they are found once per row.
            x, x0 = pairs.row(source), pairs.base(source)
            wide = g.reshape(pairs.rows, pairs.outputs, -1, *g.shape[1 : g.ndim - spatial], g[0, 0].numel())
            won = [winners(pairs, x, pairs.rows), winners(pairs, x0, pairs.background)]
        given = shares(x.flatten(-spatial), x0.flatten(-spatial), won[0], won[1], wide)
        yield source, given.reshape(dims.at(pairs.count))

    return BoundRule(step.slot, back, frozenset((source,)))


def reduced(step: Step, program: Program) -> BoundRule | None:
    """Over whole dimensions. A minimum is the maximum of −x."""
    (source,) = step.live
    shape = program.dims[source].multiples
    axes = step.argument(1, ())
    if isinstance(axes, int):
        axes = (axes,)
    axes = tuple(sorted(a % len(shape) for a in axes))
    if not axes or program.dims[source].batch in axes:
        return None
    sign = 1 if "max" in step.name else -1
    kept = [d for d in range(len(shape)) if d not in axes]

    def back(pairs: Pairs, g: Any, rows: int) -> Shares:
        g = first_result(step, g)
        order = (*kept, *axes)
        x, x0 = (sign * side.permute(order) for side in pairs.both(source))
        reduced_shape = [1 if d in axes else s for d, s in enumerate(program.dims[source].at(rows))]
        g = pairs.expand_like(source, g.reshape(reduced_shape), rows).permute(order)
        first = len(kept)
        flat, flat0, wide = x.flatten(first), x0.flatten(first), g.flatten(first)
        winners = [side.argmax(-1, keepdim=True) for side in (flat, flat0)]
        result = shares(flat, flat0, winners[0], winners[1], wide).reshape(x.shape)
        yield source, result.permute([order.index(d) for d in range(len(order))])

    return BoundRule(step.slot, back, frozenset((source,)))
