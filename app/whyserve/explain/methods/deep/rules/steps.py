"""Operations that jump, and operations on booleans.

A jump has no useful derivative, so its multiplier at Δx = 0 is a choice: 0. This is exact when x depends on one
player, because then the result depends on this player alone and does not change. When several players move x and
their moves cancel, as in floor((a + b) / 2) from (0, 2) to (1, 1), a jump on the way is not seen, and the players get
0. The attributions still add up; no finite multiplier would be right for all such functions.

A boolean has two values, so its multiplier never needs this choice: it is always f(True) − f(False).
"""

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs


def over(share: torch.Tensor, moved: torch.Tensor) -> torch.Tensor:
    """share / moved, and 0 where nothing moved."""
    still = moved == 0
    return torch.where(still, 0.0, share / torch.where(still, 1.0, moved))


def keeps_value(source: torch.dtype, target: torch.dtype) -> bool:
    """Whether a cast is linear. A float of fewer digits keeps the value to its own precision."""
    return target.is_floating_point or torch.promote_types(source, target) == target


def rounds(step: Step) -> bool:
    """Whether aten.div rounds its result, which makes it a step function."""
    return step.kwargs.get("rounding_mode") is not None


def negation(step: Step, program: Program) -> BoundRule | None:
    """1 − c of a boolean c; of an integer n, bitwise_not is −1 − n."""
    (source,) = step.live
    if program.dtypes[source] is not torch.bool and step.name != "aten.bitwise_not":
        return None
    return BoundRule(step.slot, lambda _, g, __: [(source, -g)], linear=True)


def any_true(step: Step, program: Program) -> BoundRule | None:
    """The exact Shapley value of `any` over its own elements.

    An element changes the result when no other element is true. Let a other elements be true for the row alone and b
    for the background row alone. In a random order, element i enters at a uniform time t: each of the a has not
    entered yet with probability 1 − t, and each of the b has entered with probability t. The element's multiplier is
    ∫ (1 − t)ᵃ tᵇ dt = a! b! / (a + b + 1)!, and 0 if another element is true on both sides.
    """
    (source,) = step.live
    dims, axes = program.dims[source], step.argument(1, ())
    axes = [axis % len(dims.multiples) for axis in ((axes,) if isinstance(axes, int) else axes or ())]
    if not axes or dims.batch in axes:
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        kept = [1 if d in axes else size for d, size in enumerate(dims.at(rows))]
        g = pairs.expand_like(source, g.reshape(kept), rows)
        x, x0 = pairs.both(source)
        true, true0 = x != 0, x0 != 0
        a, b, always = (c.sum(axes, keepdim=True) - c.to(x.dtype) for c in (true & ~true0, ~true & true0, true & true0))
        weight = torch.exp(torch.lgamma(a + 1) + torch.lgamma(b + 1) - torch.lgamma(a + b + 2))
        slope = torch.where(always > 0, 0.0, weight)
        if program.dtypes[source] is not torch.bool:
            slope = over(slope * (true.to(x.dtype) - true0.to(x.dtype)), x - x0)
        yield source, g * slope

    return BoundRule(step.slot, back, frozenset((source,)))
