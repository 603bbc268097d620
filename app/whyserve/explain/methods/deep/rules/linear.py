"""What is linear in all that depends on the input: its vector-Jacobian product."""

from collections.abc import Iterable
from math import prod
from typing import Any

import torch

from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule

aten = torch.ops.aten


def sum_to(g: torch.Tensor, shape: Iterable[int]) -> torch.Tensor:
    """What broadcasting did, undone."""
    shape = tuple(shape)
    return g if g.shape == shape else g.sum_to_size(shape)


def by_autograd(step: Step, program: Program) -> BoundRule:
    """The product as autograd computes it at zero; a linear operation has one Jacobian everywhere."""

    def back(pairs: Pairs, g: Any, rows: int) -> Shares:
        values = pairs.around(rows)
        leaves = [_leaf(program, s, rows, pairs.dtype) for s in step.live]
        values.update(zip(step.live, leaves, strict=True))
        with torch.enable_grad():
            result = step.run(values)
        if isinstance(g, dict):
            result, g = [result[i] for i in g], list(g.values())
        return zip(step.live, torch.autograd.grad(result, leaves, g), strict=True)

    return BoundRule(step.slot, step.name, back, linear=True)


def _leaf(program: Program, slot: int, rows: int, otherwise: torch.dtype) -> torch.Tensor:
    dtype = program.dtypes[slot]
    zero = torch.zeros((), dtype=dtype if dtype.is_floating_point else otherwise)
    return zero.expand(program.dims[slot].at(rows)).requires_grad_()


@rule(
    "aten.clone", "aten._to_copy", "aten.alias", "aten.detach", "aten.contiguous", "aten.lift_fresh_copy", "aten.copy"
)
def same(step: Step, program: Program) -> BoundRule | None:
    """What changes at most a dtype: booleans and integers are numbers here."""
    (source,) = step.live
    if step.name == "aten.copy" and not step.is_live(step.args[1]):
        return None
    if program.dtypes[source].is_floating_point and not program.dtypes[step.slot].is_floating_point:
        return None  # a truncation
    return BoundRule(step.slot, step.name, lambda _, g, __: [(source, g)], linear=True)


@rule("aten.full_like", "aten.zeros_like", "aten.ones_like", "aten.empty_like")
def shape_alone(step: Step, _: Program) -> BoundRule:
    """What takes a shape and no values."""
    return BoundRule(step.slot, step.name, lambda *_: (), linear=True)


@rule("aten.mm", "aten.addmm")
def matrix(step: Step, program: Program) -> BoundRule | None:
    """x W, or b + x W."""
    first = step.args[-2]
    if len(step.live) != 1 or not step.is_live(first) or set(step.kwargs.values()) - {1}:
        return None
    weight = program.constants.get(step.args[-1].slot)
    if weight is None:
        return None
    back, source = weight.T, step.live[0]
    return BoundRule(step.slot, step.name, lambda _, g, __: [(source, torch.mm(g, back))], linear=True)


@rule("aten.convolution")
def convolved(step: Step, program: Program) -> BoundRule | None:
    """A convolution, transposed or not, by constant weights."""
    x, weight = step.args[0], step.args[1]
    if step.live != (x.slot,) or weight.slot not in program.constants:
        return None
    dims, kernel, rest = program.dims[x.slot], program.constants[weight.slot], list(step.args[3:])

    def back(_: Pairs, g: torch.Tensor, rows: int) -> Shares:
        # Only the shape of x is looked at.
        shaped = g.new_empty(()).expand(dims.at(rows))
        grad = aten.convolution_backward(g, shaped, kernel, None, *rest, [True, False, False])[0]
        return [(x.slot, grad)]

    return BoundRule(step.slot, step.name, back, linear=True)


@rule("aten.add", "aten.sub", "aten.rsub")
def added(step: Step, program: Program) -> BoundRule | None:
    """a ± alpha b."""
    scale = step.kwargs.get("alpha", step.argument(2, 1))
    signs = {"aten.add": (1, scale), "aten.sub": (1, -scale), "aten.rsub": (-scale, 1)}[step.name]
    terms = [(a.slot, sign) for a, sign in zip(step.args, signs, strict=False) if step.is_live(a)]
    dims = program.dims

    def back(_: Pairs, g: torch.Tensor, rows: int) -> Shares:
        for slot, sign in terms:
            yield slot, sum_to(g if sign == 1 else g * sign, dims[slot].at(rows))

    return BoundRule(step.slot, step.name, back, linear=True)


@rule("aten.neg")
def negated(step: Step, _: Program) -> BoundRule:
    """−x."""
    return BoundRule(step.slot, step.name, lambda _, g, __: [(step.live[0], -g)], linear=True)


@rule("aten.mul", "aten.div")
def scaled(step: Step, program: Program) -> BoundRule | None:
    """A product with, or a division by, what does not depend on the input."""
    a, b = step.args[0], step.args[1]
    if step.kwargs or (step.is_live(a) and step.is_live(b)) or (step.name == "aten.div" and step.is_live(b)):
        return None
    (source,), factor = step.live, b if step.is_live(a) else a
    dims, op = program.dims[source], torch.mul if step.name == "aten.mul" else torch.div

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        by = factor
        if isinstance(by, Ref):
            constant = program.constants.get(by.slot)
            by = pairs.around(rows)[by.slot] if constant is None else constant
        return [(source, sum_to(op(g, by), dims.at(rows)))]

    return BoundRule(step.slot, step.name, back, linear=True)


@rule("aten._native_batch_norm_legit_no_training")
def batch_normalised(step: Step, program: Program) -> BoundRule | None:
    """Batch norm by stored statistics: a scale a channel."""
    x, weight, _, _, variance, _, eps = step.args
    if step.live != (x.slot,):
        return None
    scale = torch.rsqrt(program.constants[variance.slot] + eps)
    if weight is not None:
        scale = scale * program.constants[weight.slot]
    scale = scale.reshape(-1, *[1] * (len(program.dims[x.slot].multiples) - 2))
    return BoundRule(step.slot, step.name, lambda _, g, __: [(x.slot, g[0] * scale)], linear=True)


@rule("aten.sum", "aten.mean")
def added_up(step: Step, program: Program) -> BoundRule | None:
    """The same for every term."""
    (source,), axes, kept = step.live, step.argument(1), step.argument(2, False)
    dims = program.dims[source]
    if not axes or step.kwargs:
        return None
    axes = sorted(axis % len(dims.multiples) for axis in axes)
    if dims.batch in axes:
        return None
    count = prod(dims.multiples[axis] for axis in axes) if step.name == "aten.mean" else 1

    def back(_: Pairs, g: torch.Tensor, rows: int) -> Shares:
        for axis in () if kept else axes:
            g = g.unsqueeze(axis)
        return [(source, (g / count if count > 1 else g).expand(dims.at(rows)))]

    return BoundRule(step.slot, step.name, back, linear=True)


LINEAR = (
    "stack", "split", "unbind", "chunk", "flip", "roll",
    "repeat", "cumsum", "avg_pool1d", "avg_pool2d", "avg_pool3d", "_adaptive_avg_pool2d",
    "_adaptive_avg_pool3d",
    "constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "reflection_pad3d", "replication_pad1d",
    "replication_pad2d", "replication_pad3d", "upsample_nearest1d", "upsample_nearest2d", "upsample_nearest3d",
    "upsample_linear1d", "upsample_bilinear2d", "upsample_bicubic2d", "upsample_trilinear3d",
    "_upsample_nearest_exact1d", "_upsample_nearest_exact2d", "im2col", "col2im", "diagonal", "as_strided", "unfold",
    "pixel_shuffle",
    "pixel_unshuffle", "channel_shuffle", "movedim", "tril", "triu", "diag_embed", "narrow", "trace",
    "repeat_interleave", "slice_scatter", "select_scatter", "_adaptive_avg_pool1d", "rot90", "alias_copy",
)  # fmt: skip
for _name in (*LINEAR, "sum", "mean"):
    rule(f"aten.{_name}")(by_autograd)


@rule("aten.mm", "aten.addmm", "aten.bmm", "aten.baddbmm", "aten.mv", "aten._trilinear", "aten.dot", "aten.linear")
def one_side(step: Step, program: Program) -> BoundRule | None:
    """A product whose one side alone depends on the input; what is added may too."""
    factors = step.args if step.name == "aten.linear" else step.args[-2:]
    if step.name == "aten._trilinear":
        factors = step.args[:3]
    if step.name == "aten.linear":
        factors = step.args[:2]
    return by_autograd(step, program) if sum(step.is_live(f) for f in factors) <= 1 else None


@rule("aten.index", "aten.gather", "aten.index_select", "aten.masked_fill", "aten.scatter", "aten.index_put",
      "aten.scatter_add", "aten.index_add", "aten.where")  # fmt: skip
def picked(step: Step, program: Program) -> BoundRule | None:
    """Elements picked or placed by what does not depend on the input."""
    values = {"aten.index": (0,), "aten.gather": (0,), "aten.index_select": (0,), "aten.masked_fill": (0, 2)}
    allowed = values.get(step.name, (0, 2, 3) if step.name != "aten.where" else (1, 2))
    if any(step.is_live(a) for i, a in enumerate(step.args) if i not in allowed):
        return None
    return by_autograd(step, program)
