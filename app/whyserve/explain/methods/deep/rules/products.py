"""Functions of several things that each depend on the input: the Shapley value of the operation's own arguments."""

from itertools import combinations
from math import factorial

import torch

from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule
from whyserve.explain.methods.deep.rules.elementwise import FAR, near
from whyserve.explain.methods.deep.rules.linear import sum_to


@rule("aten.mul", "aten.logical_and")
def product(step: Step, _: Program) -> BoundRule | None:
    """a b: each side's multiplier is the other's midpoint, which is the two-player Shapley value."""
    a, b = step.args[0], step.args[1]
    if not (step.is_live(a) and step.is_live(b)):
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        half = pairs.unflatten(step.slot, g, rows) / 2
        for one, other in ((a.slot, b.slot), (b.slot, a.slot)):
            share = (pairs.row(other) + pairs.base(other)) * half
            yield one, pairs.flatten_pairs(one, sum_to(share, pairs.shape(one)))

    return BoundRule(step.slot, step.name, back, frozenset((a.slot, b.slot)))


@rule("aten.div")
def ratio(step: Step, program: Program) -> BoundRule | None:
    """a/b as the product of a and 1/b, the latter's own quotient being −1/(b b₀)."""
    a, b = step.args[0], step.args[1]
    if step.kwargs or not step.is_live(b):
        return None
    over = a.slot if step.is_live(a) else None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.unflatten(step.slot, g, rows)
        u, v = pairs.row(b.slot).reciprocal(), pairs.base(b.slot).reciprocal()
        if over is not None:
            share = g * ((u + v) / 2)
            yield over, pairs.flatten_pairs(over, sum_to(share, pairs.shape(over)))
            top = (pairs.row(over) + pairs.base(over)) / 2
        else:
            top = _numerator(pairs)
        share = g * (-top * (u * v))
        yield b.slot, pairs.flatten_pairs(b.slot, sum_to(share, pairs.shape(b.slot)))

    def _numerator(pairs: Pairs) -> torch.Tensor:
        # A constant numerator divides like a number where it is one; else like any other value that broadcasts.
        value = program.constants[a.slot] if isinstance(a, Ref) else a
        return torch.as_tensor(value, dtype=pairs.dtype)

    if over is None and isinstance(a, Ref) and _tensor_of(program, a) is None:
        return None
    return BoundRule(step.slot, step.name, back, frozenset(step.live))


def _tensor_of(program: Program, a: Ref) -> torch.Tensor | None:
    value = program.constants.get(a.slot)
    return value if isinstance(value, torch.Tensor) and value.ndim == 0 else None


@rule("aten.bmm", "aten.baddbmm")
def matrices(step: Step, program: Program) -> BoundRule | None:
    """A B for every pair: each side's multiplier by the other's midpoint."""
    a, b = step.args[-2:]
    if not (step.is_live(a) and step.is_live(b)) or set(step.kwargs.values()) - {1}:
        return None
    extra = step.args[0].slot if len(step.args) == 3 and step.is_live(step.args[0]) else None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.expand_pairs(step.slot, g, rows).to(pairs.dtype)
        left = pairs.flatten_pairs(a.slot, (pairs.row(a.slot) + pairs.base(a.slot)) / 2)
        right = pairs.flatten_pairs(b.slot, (pairs.row(b.slot) + pairs.base(b.slot)) / 2)
        yield a.slot, torch.bmm(g, right.transpose(1, 2))
        yield b.slot, torch.bmm(left.transpose(1, 2), g)
        if extra is not None:
            yield extra, sum_to(g, program.dims[extra].at(pairs.count))

    return BoundRule(step.slot, step.name, back, frozenset((a.slot, b.slot)))


@rule("aten.where")
def choice(step: Step, program: Program) -> BoundRule | None:
    """where(c, a, b) = c a + (1 − c) b with c a number: a product of c with a and b together."""
    c, a, b = step.args
    if not step.is_live(c):
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.unflatten(step.slot, g, rows)
        share = (pairs.row(c.slot) + pairs.base(c.slot)) / 2
        sides = [_sides(pairs, program, step, x) for x in (a, b)]
        for x, weight in ((a, share), (b, 1 - share)):
            if step.is_live(x):
                yield x.slot, pairs.flatten_pairs(x.slot, sum_to(g * weight, pairs.shape(x.slot)))
        gain = (sides[0][0] - sides[1][0] + sides[0][1] - sides[1][1]) / 2
        # Where the choice is the same on both sides its multiplier is of no account, and may be infinite.
        gain = torch.where(pairs.row(c.slot) == pairs.base(c.slot), 0.0, gain)
        yield c.slot, pairs.flatten_pairs(c.slot, sum_to(g * gain, pairs.shape(c.slot)))

    return BoundRule(step.slot, step.name, back, frozenset(step.live))


def _sides(pairs: Pairs, program: Program, step: Step, x: Ref) -> tuple[torch.Tensor, torch.Tensor]:
    # A mask's −inf is as far away as softmax, which is where it goes, takes it to be.
    if step.is_live(x):
        return pairs.row(x.slot).clamp(-FAR, FAR), pairs.base(x.slot).clamp(-FAR, FAR)
    value = pairs.constant(x.slot, program.dims[step.slot]).clamp(-FAR, FAR)
    return value, value


@rule("aten.logical_not", "aten.bitwise_not")
def negation(step: Step, program: Program) -> BoundRule | None:
    """1 − c for a truth c."""
    (source,) = step.live
    if program.dtypes[source] is not torch.bool:
        return None
    return BoundRule(step.slot, step.name, lambda _, g, __: [(source, -g)], linear=True)


@rule("aten.maximum", "aten.minimum", "aten.pow", "aten.atan2", "aten.logaddexp", "aten.fmin", "aten.fmax",
      "aten.hypot", "aten.logical_or", "aten.logical_xor", "aten.gt", "aten.ge", "aten.lt", "aten.le", "aten.eq",
      "aten.ne",
      "aten.clamp", "aten.clamp_min", "aten.clamp_max", "aten.lerp", "aten.addcmul", "aten.addcdiv", "aten.fmod",
      "aten.remainder", "aten.bitwise_and", "aten.bitwise_or", "aten.bitwise_xor", "aten.xlogy", "aten.copysign",
      "aten.floor_divide")  # fmt: skip
def players_of_an_operation(step: Step, program: Program) -> BoundRule | None:
    """The Shapley value of up to three arguments, each as a row or as the background has it."""
    slots = step.live
    if len(slots) > 3 or any(isinstance(a, tuple) for a in step.args):
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.expand_pairs(step.slot, g, rows)
        sides = {slot: pairs.both(slot) for slot in slots}
        around = pairs.around(pairs.count)
        worth = {}
        for present in _subsets(slots):
            values = {slot: sides[slot][0 if slot in present else 1] for slot in slots}
            typed = {slot: x.to(program.dtypes[slot]) for slot, x in values.items()}
            worth[present] = step.run({**around, **typed}).to(pairs.dtype)
        for slot in slots:
            others = [s for s in slots if s != slot]
            gained = torch.zeros_like(g)
            for present in _subsets(tuple(others)):
                weight = factorial(len(present)) * factorial(len(others) - len(present)) / factorial(len(slots))
                gained = gained + weight * (worth[present | {slot}] - worth[present])
            yield slot, _rate(gained * g, *sides[slot])

    return BoundRule(step.slot, step.name, back, frozenset(slots))


def _subsets(slots: tuple[int, ...]) -> list[frozenset[int]]:
    return [frozenset(chosen) for size in range(len(slots) + 1) for chosen in combinations(slots, size)]


def _rate(share: torch.Tensor, x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
    share, moved = sum_to(share, x.shape), x - x0
    still = moved.abs() < near(x.dtype) ** 3
    return torch.where(still, 0.0, share / torch.where(still, 1.0, moved))
