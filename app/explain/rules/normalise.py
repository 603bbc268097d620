"""Normalising operations taken whole: the path integral of their Jacobian (Aumann & Shapley 1974), in closed form.

Decomposed into sums, products and reciprocals they give huge parts that cancel.
"""

import torch

from app.explain.rules.elementwise import FAR, exponential
from app.explain.rules.pairs import Pairs, nodes
from app.explain.rules.program import Program, Step
from app.explain.rules.registry import Move, Shares, rule


@rule("aten._softmax", "aten._safe_softmax", "aten.softmax", "aten._log_softmax", "aten.log_softmax")
def softmax(step: Step, _: Program) -> Move:
    """Through e = exp(x − s): Δe/Δx one by one, then e/Σe, or −log Σe, along the straight line from e₀ to e.

    Along that line S(t) = Σe(t) is linear in t, so that the integrals of 1/S and e/S² have closed forms in log S/S₀.
    The shift s is the same on both sides of a pair, or the parts would not add up to the logits' differences.
    """
    (source,), dim = step.live, step.args[1]
    logarithmic = "log" in step.name

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.wide(step.slot, g, rows)
        x, x0 = pairs.both(source)
        total, total0 = x.logsumexp(dim, keepdim=True), x0.logsumexp(dim, keepdim=True)
        shift = torch.maximum(total, total0)
        x, x0 = x - shift, x0 - shift
        e, e0 = x.exp(), x0.exp()
        # −inf on both sides, as a mask leaves it, has no share.
        x, x0 = x.clamp_min(-FAR), x0.clamp_min(-FAR)
        rate = exponential(x, x0, e, e0)
        mean, late, early = _integrals((total - total0).double())
        if logarithmic:
            result = g - g.sum(dim, keepdim=True) * (mean.to(g.dtype) * rate)
        else:
            p, p0 = e / e.sum(dim, keepdim=True), e0 / e0.sum(dim, keepdim=True)
            drawn = (g * (p * late.to(g.dtype) + p0 * early.to(g.dtype))).sum(dim, keepdim=True)
            result = rate * (g * mean.to(g.dtype) - drawn)
        yield source, result

    return Move(step.slot, step.name, back, frozenset((source,)))


def _integrals(gap: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """∫1/S, S₁∫t/S² and S₀∫(1−t)/S² over t in (0, 1), where log S₁/S₀ is `gap` and the larger of the two is 1.

    By quadrature where S hardly changes and the closed forms cancel; sixteen points are exact there.
    """
    one, zero = gap.clamp(max=0).exp(), (-gap).clamp(max=0).exp()
    slope = one - zero
    far = gap.abs() > 1
    apart = torch.where(far, slope, 1.0)
    mean = gap / apart
    late = one * (gap + zero / one - 1) / apart**2
    early = (one - zero - zero * gap) / apart**2
    late = torch.where(gap < -50, (one * gap + zero - one) / apart**2, late)
    if not far.all():
        near_mean, near_late, near_early = (torch.zeros_like(gap) for _ in range(3))
        for at, weight in zip(*nodes(16, gap.dtype), strict=True):
            s = (zero + slope * at).reciprocal()
            near_mean += weight * s
            near_late += weight * at * one * s * s
            near_early += weight * (1 - at) * zero * s * s
        mean = torch.where(far, mean, near_mean)
        late = torch.where(far, late, near_late)
        early = torch.where(far, early, near_early)
    return mean, late, early
