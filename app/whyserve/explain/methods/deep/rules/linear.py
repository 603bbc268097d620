"""Operations that are linear in every argument that depends on the input: the vector-Jacobian product.

Exact for any game, whether an argument changes or not.
"""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch

from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.rules.steps import keeps_value, rounds

aten = torch.ops.aten


def sum_to(g: torch.Tensor, shape: Iterable[int]) -> torch.Tensor:
    """Undo broadcasting: the sum of g over the dimensions that `shape` does not have."""
    shape = tuple(shape)
    return g if g.shape == shape else g.sum_to_size(shape)


def by_autograd(step: Step, program: Program) -> BoundRule:
    """The vector-Jacobian product by autograd, taken at zero: a linear operation has one Jacobian everywhere."""

    def back(pairs: Pairs, g: Any, rows: int) -> Shares:
        values = pairs.fixed_values(rows)
        leaves = [_leaf(program, s, rows, pairs.dtype) for s in step.live]
        values.update(zip(step.live, leaves, strict=True))
        with torch.enable_grad():
            result = step.run(values)
        if isinstance(g, dict):
            result, g = [result[i] for i in g], list(g.values())
        return zip(step.live, torch.autograd.grad(result, leaves, g), strict=True)

    return BoundRule(step.slot, back, linear=True)


def _leaf(program: Program, slot: int, rows: int, otherwise: torch.dtype) -> torch.Tensor:
    dtype = program.dtypes[slot]
    zero = torch.zeros((), dtype=dtype if dtype.is_floating_point else otherwise)
    return zero.expand(program.dims[slot].at(rows)).requires_grad_()


def same(step: Step, _: Program) -> BoundRule:
    """A copy, or another name for the value."""
    return BoundRule(step.slot, lambda _, g, __: [(step.live[0], g)], linear=True)


def cast(step: Step, program: Program) -> BoundRule | None:
    """A change of dtype that keeps the value (see steps for those that do not)."""
    (source,) = step.live
    return same(step, program) if keeps_value(program.dtypes[source], program.dtypes[step.slot]) else None


def copied(step: Step, program: Program) -> BoundRule | None:
    """aten.copy(shape, source): the source's values, broadcast to the shape of another tensor."""
    source = step.args[1].slot
    dtypes, dims = program.dtypes, program.dims
    if not step.is_live(step.args[1]) or not keeps_value(dtypes[source], dtypes[step.slot]):
        return None
    return BoundRule(step.slot, lambda _, g, rows: [(source, sum_to(g, dims[source].at(rows)))], linear=True)


def shape_alone(step: Step, _: Program) -> BoundRule:
    """Reads the shape of its argument and none of its values."""
    return BoundRule(step.slot, lambda *_: (), linear=True)


def matrix(step: Step, program: Program) -> BoundRule | None:
    """x W, or b + x W."""
    first = step.args[-2]
    if len(step.live) != 1 or not step.is_live(first) or set(step.kwargs.values()) - {1}:
        return None
    weight = program.constants.get(step.args[-1].slot)
    if weight is None:
        return None
    back, source = weight.T, step.live[0]
    return BoundRule(step.slot, lambda _, g, __: [(source, torch.mm(g, back))], linear=True)


def convolved(step: Step, program: Program) -> BoundRule | None:
    """A convolution, transposed or not, by constant weights."""
    x, weight = step.args[0], step.args[1]
    if step.live != (x.slot,) or weight.slot not in program.constants:
        return None
    dims, kernel, rest = program.dims[x.slot], program.constants[weight.slot], list(step.args[3:])

    def back(_: Pairs, g: torch.Tensor, rows: int) -> Shares:
        # convolution_backward reads the shape of x only.
        shaped = g.new_empty(()).expand(dims.at(rows))
        grad = aten.convolution_backward(g, shaped, kernel, None, *rest, [True, False, False])[0]
        return [(x.slot, grad)]

    return BoundRule(step.slot, back, linear=True)


def added(step: Step, program: Program) -> BoundRule | None:
    """a ± alpha b of numbers; of two booleans, + is `or`."""
    if program.dtypes[step.slot] is torch.bool:
        return None
    scale = step.kwargs.get("alpha", step.argument(2, 1))
    signs = (1, scale if step.name == "aten.add" else -scale)
    terms = [(a.slot, sign) for a, sign in zip(step.args, signs, strict=False) if step.is_live(a)]
    dims = program.dims

    def back(_: Pairs, g: torch.Tensor, rows: int) -> Shares:
        for slot, sign in terms:
            yield slot, sum_to(g if sign == 1 else g * sign, dims[slot].at(rows))

    return BoundRule(step.slot, back, linear=True)


def scaled(step: Step, program: Program) -> BoundRule | None:
    """A product with a constant, or a quotient with a constant denominator."""
    a, b = step.args[0], step.args[1]
    if rounds(step) or (step.is_live(a) and step.is_live(b)) or (step.name == "aten.div" and step.is_live(b)):
        return None
    (source,), factor = step.live, b if step.is_live(a) else a
    dims, op = program.dims[source], torch.mul if step.name == "aten.mul" else torch.div

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        by = factor
        if isinstance(by, Ref):
            constant = program.constants.get(by.slot)
            by = pairs.fixed_values(rows)[by.slot] if constant is None else constant
        return [(source, sum_to(op(g, by), dims.at(rows)))]

    return BoundRule(step.slot, back, linear=True)


def batch_normalised(step: Step, program: Program) -> BoundRule | None:
    """Batch norm with stored statistics: one scale per channel."""
    x, weight, _, _, variance, _, eps = step.args
    if step.live != (x.slot,):
        return None
    scale = torch.rsqrt(program.constants[variance.slot] + eps)
    if weight is not None:
        scale = scale * program.constants[weight.slot]
    scale = scale.reshape(-1, *[1] * (len(program.dims[x.slot].multiples) - 2))
    return BoundRule(step.slot, lambda _, g, __: [(x.slot, g[0] * scale)], linear=True)


def added_up(step: Step, program: Program) -> BoundRule | None:
    """Every term of a sum gets the sum's multiplier."""
    (source,), axes, kept = step.live, step.argument(1), step.argument(2, False)
    dims = program.dims[source]
    if not axes or (step.kwargs and not keeps_value(program.dtypes[source], program.dtypes[step.slot])):
        return None
    axes = sorted(axis % len(dims.multiples) for axis in axes)
    if dims.batch in axes:
        return None
    count = prod(dims.multiples[axis] for axis in axes) if step.name == "aten.mean" else 1

    def back(_: Pairs, g: torch.Tensor, rows: int) -> Shares:
        for axis in () if kept else axes:
            g = g.unsqueeze(axis)
        return [(source, (g / count if count > 1 else g).expand(dims.at(rows)))]

    return BoundRule(step.slot, back, linear=True)


def one_side(step: Step, program: Program) -> BoundRule | None:
    """A matrix product with one constant side; the term added to it may depend on the input."""
    return by_autograd(step, program) if sum(map(step.is_live, step.args[-2:])) <= 1 else None
