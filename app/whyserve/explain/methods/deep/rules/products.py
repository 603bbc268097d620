"""Products and choices of values that each depend on the input: the two-player Shapley value.

All of these are exact and need no division by a difference, so they hold where a factor does not change.
"""

import torch

from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.rules.elementwise import FAR
from whyserve.explain.methods.deep.rules.linear import sum_to


def product(step: Step, program: Program) -> BoundRule | None:
    """a b: each side's multiplier is the other side's midpoint."""
    a, b = step.args[0], step.args[1]
    if not (step.is_live(a) and step.is_live(b)):
        return None
    # `and` is a product of booleans, and of nothing else.
    if step.name == "aten.logical_and" and {program.dtypes[x.slot] for x in (a, b)} != {torch.bool}:
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        half = pairs.unflatten(step.slot, g, rows) / 2
        for one, other in ((a.slot, b.slot), (b.slot, a.slot)):
            share = (pairs.row(other) + pairs.base(other)) * half
            yield one, pairs.flatten_pairs(one, sum_to(share, pairs.shape(one)))

    return BoundRule(step.slot, back, frozenset((a.slot, b.slot)))


def matrices(step: Step, _: Program) -> BoundRule | None:
    """A B for every pair: each side's multiplier is the product with the other side's midpoint."""
    a, b = step.args
    if not (step.is_live(a) and step.is_live(b)):
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.expand_pairs(step.slot, g, rows).to(pairs.dtype)
        left = pairs.flatten_pairs(a.slot, (pairs.row(a.slot) + pairs.base(a.slot)) / 2)
        right = pairs.flatten_pairs(b.slot, (pairs.row(b.slot) + pairs.base(b.slot)) / 2)
        yield a.slot, torch.bmm(g, right.transpose(1, 2))
        yield b.slot, torch.bmm(left.transpose(1, 2), g)

    return BoundRule(step.slot, back, frozenset((a.slot, b.slot)))


def choice(step: Step, program: Program) -> BoundRule | None:
    """where(c, a, b) = c a + (1 − c) b with c as a number: a product of c with a and b together."""
    c, a, b = step.args
    if not step.is_live(c):
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.unflatten(step.slot, g, rows)
        row, base = pairs.row(c.slot), pairs.base(c.slot)
        share = (row + base) / 2
        sides = [_sides(pairs, program, step, x) for x in (a, b)]
        for x, weight in ((a, share), (b, 1 - share)):
            if step.is_live(x):
                yield x.slot, pairs.flatten_pairs(x.slot, sum_to(g * weight, pairs.shape(x.slot)))
        gain = (sides[0][0] - sides[1][0] + sides[0][1] - sides[1][1]) / 2
        # Where c is the same on both sides, c = c₁ and c₂ may still depend on players that differ, and needs its
        # multiplier. A masked value has none: its gain is −∞, or NaN where the branch not taken is NaN.
        gain = torch.where((row == base) & ~(gain.abs() < FAR / 4), 0.0, gain)
        yield c.slot, pairs.flatten_pairs(c.slot, sum_to(g * gain, pairs.shape(c.slot)))

    return BoundRule(step.slot, back, frozenset(step.live))


def _sides(pairs: Pairs, program: Program, step: Step, x: Ref) -> tuple[torch.Tensor, torch.Tensor]:
    # A mask's −∞ counts as FAR, as it does in the softmax that follows.
    if step.is_live(x):
        return pairs.row(x.slot).clamp(-FAR, FAR), pairs.base(x.slot).clamp(-FAR, FAR)
    value = pairs.constant(x.slot, program.dims[step.slot]).clamp(-FAR, FAR)
    return value, value
