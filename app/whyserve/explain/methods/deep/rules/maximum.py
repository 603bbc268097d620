"""Maxima over windows and dimensions: the winner takes the change (cross-maximum, Lundberg & Lee 2017)."""

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule


def _rate(x: torch.Tensor, x0: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
    moved = x - x0
    # A winner that has not moved was the winner on both sides, with the slope 1.
    return torch.where(moved == 0, 1.0, gain / torch.where(moved == 0, 1.0, moved))


def shares(
    x: torch.Tensor, x0: torch.Tensor, winner: torch.Tensor, winner0: torch.Tensor, g: torch.Tensor
) -> torch.Tensor:
    """Multipliers over the last dimension of x, given the winners' places there, on either side, and g for each.

    The side whose maximum is larger carries y − y₀ at its own winner, whose x has changed by at least as much.
    All but the last dimensions broadcast.
    """
    y, y0 = x.gather(-1, winner), x0.gather(-1, winner0)
    place = torch.where(y >= y0, winner, winner0)
    at, at0 = (side.expand(*place.shape[:-1], -1).gather(-1, place) for side in (x, x0))
    rate = _rate(at, at0, y - y0)
    share = g * rate
    given = share.new_zeros(*share.shape[:-1], x.shape[-1])
    return given.scatter_add_(-1, place.expand(share.shape), share)


@rule("aten.max_pool2d_with_indices", "aten.max_pool3d_with_indices", "aten.adaptive_max_pool2d",
      "aten.adaptive_max_pool3d")  # fmt: skip
def pooled(step: Step, program: Program) -> BoundRule:
    """Over windows; the operation gives the winners itself."""
    (source,) = step.live
    dims = program.dims[source]
    spatial = 3 if "3d" in step.name else 2
    rows_first = dims.batch == 0 and dims.multiples[0] == 1

    def winners(pairs: Pairs, x: torch.Tensor, rows: int) -> torch.Tensor:
        found: torch.Tensor = step.run({source: x.reshape(dims.at(rows)), **pairs.around(rows)})[1]
        return found.reshape(*x.shape[: x.ndim - spatial], -1)

    def back(pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        if pairs.stacked or not rows_first:
            x, x0 = (side.contiguous() for side in pairs.both(source))
            wide = _pairs_of(pairs, source, g[0], rows).flatten(-spatial)
            won = [winners(pairs, side, pairs.count) for side in (x, x0)]
        else:
            # Who wins on a side is the same for all its pairs, and at which place for all outputs.
            x, x0 = pairs.row(source), pairs.base(source)
            wide = g[0].reshape(pairs.rows, pairs.outputs, -1, *g[0].shape[1 : g[0].ndim - spatial], g[0][0, 0].numel())
            won = [winners(pairs, x, pairs.rows), winners(pairs, x0, pairs.background)]
        given = shares(x.flatten(-spatial), x0.flatten(-spatial), won[0], won[1], wide)
        yield source, given.reshape(dims.at(pairs.count))

    return BoundRule(step.slot, step.name, back, frozenset((source,)))


def _pairs_of(pairs: Pairs, slot: int, g: torch.Tensor, rows: int) -> torch.Tensor:
    """A result's multiplier for all pairs; its rows lie where those of `slot` do."""
    if rows == pairs.count:
        return g
    batch = pairs.program.dims[slot].batch
    return g.repeat_interleave(pairs.count // rows, dim=batch)


@rule("aten.amax", "aten.amin", "aten.max", "aten.min")
def reduced(step: Step, program: Program) -> BoundRule | None:
    """Over whole dimensions; a minimum is a maximum of the negated."""
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

    def back(pairs: Pairs, g: dict[int, torch.Tensor] | torch.Tensor, rows: int) -> Shares:
        g = g if isinstance(g, torch.Tensor) else g[0]
        order = (*kept, *axes)
        x, x0 = (sign * side.permute(order) for side in pairs.both(source))
        reduced_shape = [1 if d in axes else s for d, s in enumerate(program.dims[source].at(rows))]
        g = _pairs_of(pairs, source, g.reshape(reduced_shape), rows).permute(order)
        first = len(kept)
        flat, flat0, wide = x.flatten(first), x0.flatten(first), g.flatten(first)
        winners = [side.argmax(-1, keepdim=True) for side in (flat, flat0)]
        result = shares(flat, flat0, winners[0], winners[1], wide).reshape(x.shape)
        yield source, result.permute([order.index(d) for d in range(len(order))])

    return BoundRule(step.slot, step.name, back, frozenset((source,)))


@rule("aten.any", "aten.all")
def truths(step: Step, program: Program) -> BoundRule | None:
    """any and all are a maximum and a minimum of truths."""
    named = "amax" if step.name == "aten.any" else "amin"
    return reduced(Step(step.slot, step.op, named, step.args, step.kwargs, step.live), program)
