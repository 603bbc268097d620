"""Functions of one number: Δy/Δx (the rescale rule of DeepLIFT, Shrikumar et al. 2017)."""

from collections.abc import Callable
from math import isnan

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule

Closed = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(x, x₀, y, y₀) → Δy/Δx, without cancellation."""


FAR = 1e9  # what infinity counts as, in a difference


def near(dtype: torch.dtype) -> float:
    """|Δx| below which the midpoint's derivative is nearer to Δy/Δx than the quotient: errors Δx² and ε/Δx meet."""
    return float(torch.finfo(dtype).eps ** (1 / 3))


def quotient(step: Step, _: Program) -> BoundRule:
    """Δy/Δx; near Δx = 0 the derivative at the midpoint."""
    (source,) = step.live

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        x, x0 = pairs.row(source), pairs.base(source)
        slope = (pairs.row(step.slot) - pairs.base(step.slot)).div_(difference := x - x0)
        close = difference.abs_() < near(pairs.dtype)
        if close.any():
            slope = torch.where(close, derivative(step, pairs, (x + x0) / 2), slope)
        return [(source, pairs.flatten_pairs(source, pairs.unflatten(step.slot, g, rows) * slope))]

    return BoundRule(step.slot, step.name, back, frozenset((source, step.slot)))


def derivative(step: Step, pairs: Pairs, at: torch.Tensor) -> torch.Tensor:
    """The derivative at the midpoints, (…, R, 1, B, …)."""
    (source,) = step.live
    dims = pairs.program.dims[source]
    rows = pairs.count if pairs.stacked else pairs.rows * pairs.background
    values = pairs.around(rows)
    x = values[source] = at.reshape(dims.at(rows)).requires_grad_()
    with torch.enable_grad():
        total = step.run(values).sum()
    return torch.autograd.grad(total, x)[0].reshape(at.shape)


for _name in (
    "gelu", "silu", "mish", "elu", "celu", "selu", "softplus", "hardtanh", "hardswish",
    "hardsigmoid",
    "leaky_relu", "log_sigmoid_forward", "softshrink", "hardshrink", "threshold", "abs", "clamp", "clamp_min",
    "clamp_max", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erf", "erfc",
    "erfinv", "log10", "log2", "log1p", "expm1", "exp2", "logit", "special_erf", "digamma", "lgamma", "relu6", "sinc",
    "special_expit", "special_log_ndtr", "special_ndtr", "special_ndtri", "special_entr", "i0", "sgn", "deg2rad",
    "rad2deg", "frac", "nan_to_num", "square_", "xlogy", "prelu", "_prelu_kernel", "hypot", "special_erfcx",
    "special_i0e", "special_i1", "special_i1e",
):  # fmt: skip

    @rule(f"aten.{_name}")
    def _of_one(step: Step, program: Program) -> BoundRule | None:
        # A bound or a slope that depends on the input makes it a function of two.
        if len(step.live) != 1 or not step.is_live(step.args[0]):
            return None
        return quotient(step, program)


@rule("aten.pow")
def power(step: Step, _: Program) -> BoundRule | None:
    """x² by its closed form; other constant powers by the quotient."""
    (source,) = step.live if len(step.live) == 1 else (-1,)
    if step.args[1:] != (2,):
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        slope = pairs.row(source) + pairs.base(source)
        return [(source, pairs.flatten_pairs(source, pairs.unflatten(step.slot, g, rows) * slope))]

    return BoundRule(step.slot, step.name, back, frozenset((source,)))


@rule("aten.minimum", "aten.maximum", "aten.pow", "aten.atan2", "aten.fmod", "aten.logaddexp", "aten.fmin", "aten.fmax",
      "aten.xlogy", "aten.hypot", "aten.copysign")  # fmt: skip
def with_constant(step: Step, program: Program) -> BoundRule | None:
    """A function of two numbers of which one does not depend on the input, and broadcasts to the other."""
    if len(step.live) != 1 or program.dims[step.slot] != program.dims[step.live[0]] or step.args[0] == step.args[1]:
        return None
    return quotient(step, program)


@rule("aten.relu")
def rectified(step: Step, _: Program) -> BoundRule:
    """max(x, 0): the quotient never cancels, and 0/0 has the side's own slope."""
    (source,) = step.live

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        slope = rectifying(pairs.row(source), pairs.base(source), pairs.row(step.slot), pairs.base(step.slot))
        return [(source, pairs.flatten_pairs(source, pairs.unflatten(step.slot, g, rows) * slope))]

    return BoundRule(step.slot, step.name, back, frozenset((source, step.slot)))


def rectifying(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """Δy/Δx of y = max(x, 0)."""
    slope = (y - y0).div_(x - x0)
    # One sum finds any 0/0 much sooner than looking for it.
    if isnan(slope.sum()):
        slope = torch.where(torch.isnan(slope), (x > 0).to(slope.dtype), slope)
    return slope


def closed(*names: str) -> Callable[[Closed], Closed]:
    """Register a closed form of Δy/Δx."""

    def register(form: Closed) -> Closed:
        @rule(*(f"aten.{name}" for name in names))
        def maker(step: Step, _: Program) -> BoundRule:
            (source,) = step.live

            def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
                sides = pairs.row(source), pairs.base(source), pairs.row(step.slot), pairs.base(step.slot)
                return [(source, pairs.flatten_pairs(source, pairs.unflatten(step.slot, g, rows) * form(*sides)))]

            return BoundRule(step.slot, step.name, back, frozenset((source, step.slot)))

        return form

    return register


@closed("square")
def square(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """x + x₀."""
    return x + x0


TINY = 1e-30  # what a difference of nothing counts as, for a quotient that is 1 there


@closed("tanh")
def hyperbolic(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """(1 − y y₀) tanh(Δx)/Δx, which is the formula for the tangent of a difference."""
    change = (x - x0).add_(TINY)
    rate = torch.tanh(change).div_(change)
    return torch.addcmul(rate, rate, y * y0, value=-1)


@closed("sigmoid")
def logistic(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """(y + y₀ − 2 y y₀) tanh(h)/2h with h = Δx/2: a sigmoid is half a tanh of half its argument."""
    half = (x - x0).mul_(0.5).add_(TINY)
    rate = torch.tanh(half).div_(half.mul_(2))
    return torch.addcmul(y + y0, y, y0, value=-2).mul_(rate)


@closed("reciprocal")
def reciprocal(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """−y y₀."""
    return -(y * y0)


@closed("sqrt")
def root(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """1/(y + y₀); at zero on both sides, where there is no slope, 0."""
    both = y + y0
    return torch.where(both > 0, both.reciprocal(), 0.0)


@closed("rsqrt")
def inverse_root(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """−y y₀ / (1/y + 1/y₀)."""
    return -(y * y0) / (y.reciprocal() + y0.reciprocal())


@closed("log")
def logarithm(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """log1p(u)/u / x₀ with u = Δx/x₀."""
    u = (x - x0) / x0
    slope = torch.where(u.abs() < near(u.dtype) ** 2, 1 - u / 2, torch.log1p(u) / u)
    return slope / x0


@closed("exp")
def exponential(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """y at the midpoint times sinh(h)/h with h = Δx/2, and the quotient where that may overflow."""
    h = (x - x0) / 2
    small = h.abs() < 1
    inner = torch.where(small, h, 0.5)
    sinhc = torch.where(inner.abs() < near(h.dtype) ** 2, 1.0, torch.sinh(inner) / inner)
    return torch.where(small, ((x + x0) / 2).clamp(max=80).exp() * sinhc, (y - y0) / (2 * h))


@rule("aten.eq", "aten.ne", "aten.gt", "aten.ge", "aten.lt", "aten.le", "aten.sign", "aten.floor", "aten.ceil",
      "aten.round", "aten.trunc", "aten._to_copy", "aten.isnan", "aten.isinf", "aten.signbit", "aten.remainder",
      "aten.floor_divide", "aten.div", "aten.bitwise_and", "aten.bitwise_or", "aten.fmod",
      "aten.bucketize")  # fmt: skip
def stepping(step: Step, program: Program) -> BoundRule | None:
    """What jumps, with one argument that depends on the input: the jump's own Δy/Δx, and 0 where x stays."""
    a = [x for x in step.args if step.is_live(x)]
    if len(step.live) != 1 or len(a) != 1:
        return None
    (source,) = step.live

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        x, x0 = pairs.row(source), pairs.base(source)
        moved = (x - x0).nan_to_num_(0.0, 0.0, 0.0)
        jump = pairs.row(step.slot) - pairs.base(step.slot)
        # The result may be wider than x, as one category compared to all of them.
        shares = pairs.unflatten(step.slot, g, rows) * jump
        shares = shares.sum_to_size(pairs.shape(source))
        slope = torch.where(moved == 0, 0.0, shares / torch.where(moved == 0, 1.0, moved))
        return [(source, pairs.flatten_pairs(source, slope))]

    return BoundRule(step.slot, step.name, back, frozenset((source, step.slot)))
