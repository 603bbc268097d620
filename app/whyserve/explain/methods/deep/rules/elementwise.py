"""Functions of one number: the multiplier is Δy/Δx, the rescale rule of DeepLIFT (Shrikumar et al. 2017).

Δx may be 0 while the players behind x differ, as in the mean of two columns that move in opposite directions. The
multiplier is then the derivative at x: Δx·Δy/Δx adds up with any multiplier, but the players need the right one.
"""

from collections.abc import Callable
from math import isnan
from typing import Any

import torch

from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Rule, Shares
from whyserve.explain.methods.deep.pairs import Pairs

Slope = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(x, x₀, y, y₀) → Δy/Δx by a closed form without cancellation, and the derivative where Δx = 0."""

FAR = 1e9  # replaces infinity in a difference
TINY = 1e-30  # replaces Δx = 0 in a quotient whose limit is 1
ROUNDING = 64  # the error of a computed Δy is at most this many units in the last place


def near(dtype: torch.dtype) -> float:
    """The |Δx| below which the derivative at the midpoint is closer to Δy/Δx than the quotient.

    The derivative's error grows as Δx² and the quotient's as ε/Δx; they meet at the cube root of ε.
    """
    return float(torch.finfo(dtype).eps ** (1 / 3))


def near_slope(
    quotient: torch.Tensor, derivative: torch.Tensor, moved: torch.Tensor, size: torch.Tensor
) -> torch.Tensor:
    """Δy/Δx where |Δx| is small: the derivative if it explains Δy to rounding, else the quotient.

    A jump or a kink between x₀ and x is what a derivative does not explain, and there the quotient does not cancel.
    moved: Δx. size: the magnitude of y, which rounding is relative to. A derivative that does not exist counts as 0.
    """
    derivative = derivative.nan_to_num(0.0, 0.0, 0.0)
    rounding = size.mul(ROUNDING * torch.finfo(size.dtype).eps)
    explained = (quotient - derivative).mul_(moved).abs_() <= rounding
    return torch.where(explained.logical_or_(moved == 0), derivative, quotient)


def quotient(step: Step, program: Program) -> BoundRule | None:
    """Δy/Δx for a function of one argument, with constants for the others, whose result has the argument's shape."""
    (source, *others) = step.live
    if others or program.dims[step.slot] != program.dims[source] or program.dtypes[source] is torch.bool:
        return None

    def slope(pairs: Pairs) -> torch.Tensor:
        x, x0, y, y0 = pairs.row(source), pairs.base(source), pairs.row(step.slot), pairs.base(step.slot)
        moved = x - x0
        result = (y - y0).div_(moved)
        close = moved.abs() < near(pairs.dtype)
        at, shape = close.flatten().nonzero().squeeze(1), close.shape
        if len(at):
            # Few elements are close, so only these are gathered.
            moved, y = moved.take(at), y.expand(shape).take(at)
            derivative = _derivative(step, pairs, x.expand(shape).take(at) - moved / 2, at, shape)
            result.put_(at, near_slope(result.take(at), derivative, moved, y.abs_()))
        return result

    return _by_slope(step, slope, frozenset((source, step.slot)))


def _derivative(step: Step, pairs: Pairs, middle: torch.Tensor, at: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """The step's derivative at `middle`, elements `at` of a flattened value of `shape`, (…, R, 1, B, …)."""
    (source,) = step.live
    if not any(isinstance(argument, Ref) and argument.slot != source for argument in step.args):
        return _gradient(step, {}, source, middle)
    # A constant tensor broadcasts to the whole value.
    rows = pairs.count if pairs.stacked else pairs.rows * pairs.background
    whole = middle.new_zeros(shape).put_(at, middle).reshape(pairs.program.dims[source].at(rows))
    return _gradient(step, pairs.fixed_values(rows), source, whole).take(at)


def _gradient(step: Step, values: dict[int, Any], source: int, at: torch.Tensor) -> torch.Tensor:
    x = values[source] = at.requires_grad_()
    with torch.enable_grad():
        y = step.run(values)
    # A tensor of ones, because the gradient of a sum is not contiguous, which makes some backward passes slow.
    return torch.autograd.grad(y, x, torch.ones_like(y))[0]


def _by_slope(step: Step, slope: Callable[[Pairs], torch.Tensor], needs: frozenset[int]) -> BoundRule:
    (source,) = step.live

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        return [(source, pairs.flatten_pairs(source, pairs.unflatten(step.slot, g, rows) * slope(pairs)))]

    return BoundRule(step.slot, back, needs)


def squared(step: Step, _: Program) -> BoundRule | None:
    """x²: x + x₀."""
    if len(step.live) != 1 or step.args[1:] != (2,):
        return None
    (source,) = step.live
    return _by_slope(step, lambda pairs: pairs.row(source) + pairs.base(source), frozenset((source,)))


def closed(slope: Slope) -> Rule:
    """The rule of a closed form."""

    def bind(step: Step, _: Program) -> BoundRule:
        (source,) = step.live

        def of_pairs(pairs: Pairs) -> torch.Tensor:
            return slope(pairs.row(source), pairs.base(source), pairs.row(step.slot), pairs.base(step.slot))

        return _by_slope(step, of_pairs, frozenset((source, step.slot)))

    return bind


def rectifier(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """y = max(x, 0): the quotient never cancels. At Δx = 0 it is 1 for x > 0 and else 0."""
    slope = (y - y0).div_(x - x0)
    # One sum finds any 0/0 faster than a test of every element.
    if isnan(slope.sum()):
        slope = torch.where(torch.isnan(slope), (x > 0).to(slope.dtype), slope)
    return slope


def hyperbolic(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """y = tanh x: (1 − y y₀) tanh(Δx)/Δx, from the formula for the tangent of a difference."""
    change = (x - x0).add_(TINY)
    rate = torch.tanh(change).div_(change)
    return torch.addcmul(rate, rate, y * y0, value=-1)


def logistic(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """y = σ(x): (y + y₀ − 2 y y₀) tanh(h)/2h with h = Δx/2, since a sigmoid is half a tanh of x/2."""
    half = (x - x0).mul_(0.5).add_(TINY)
    rate = torch.tanh(half).div_(half.mul_(2))
    return torch.addcmul(y + y0, y, y0, value=-2).mul_(rate)


def reciprocal(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """y = 1/x: −y y₀."""
    return -(y * y0)


def inverse_root(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """y = 1/√x: −y y₀ / (1/y + 1/y₀)."""
    return -(y * y0) / (y.reciprocal() + y0.reciprocal())


def exponential(x: torch.Tensor, x0: torch.Tensor, y: torch.Tensor, y0: torch.Tensor) -> torch.Tensor:
    """y = eˣ: the logarithmic mean of y and y₀."""
    return mean_of_exponentials(x, x0, torch.maximum(y, y0))


def mean_of_exponentials(x: torch.Tensor, x0: torch.Tensor, larger: torch.Tensor) -> torch.Tensor:
    """(eˣ − eˣ⁰)/(x − x₀) as `larger`, the larger one of both, times (1 − e⁻ᵈ)/d with d = |Δx|, which never cancels."""
    change = (x - x0).abs_().clamp_min_(TINY).neg_()
    return torch.expm1(change).div_(change).mul_(larger)
