"""Softmax, its logarithm, and the logarithm of a sum of exponentials, each taken whole, by logarithmic means.

With L(a, b) = (a − b)/(ln a − ln b), the change of a sum of exponentials in its logarithm is Σ w Δx, where w is
L(e, e₀)/L(S, S₀), and that of a probability is L(p, p₀) times that of its logarithm: index decomposition without
a residual (Ang 2004). L is concave and homogeneous, so that Σ w ≤ 1 and no part is larger than the logits' changes;
exponentials, sum and reciprocal one by one give huge parts that cancel.
"""

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule
from whyserve.explain.methods.deep.rules.elementwise import FAR, exponential


@rule("aten._softmax", "aten._safe_softmax", "aten.softmax", "aten._log_softmax", "aten.log_softmax")
def softmax(step: Step, _: Program) -> BoundRule:
    """g L(p, p₀) − w Σ g L(p, p₀); of the logarithm, g − w Σ g."""
    (source,), dim = step.live, step.args[1]
    logarithmic = "log" in step.name

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.expand_pairs(step.slot, g, rows)
        x, x0 = pairs.both(source)
        total, total0 = x.logsumexp(dim, keepdim=True), x0.logsumexp(dim, keepdim=True)
        # One shift for both sides: the parts are to add up to the logits' own differences.
        shift = torch.maximum(total, total0)
        weight = _mean(x - shift, x0 - shift) / _mean(total - shift, total0 - shift)
        if not logarithmic:
            g = g * _mean(x - total, x0 - total0)
        yield source, g - weight * g.sum(dim, keepdim=True)

    return BoundRule(step.slot, step.name, back, frozenset((source,)))


@rule("aten.logsumexp")
def log_of_sum(step: Step, _: Program) -> BoundRule | None:
    """g w, over the dimensions that are summed."""
    (source,), dims, kept = step.live, tuple(step.args[1]), step.argument(2, False)

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.expand_pairs(step.slot, g, rows)
        for dim in () if kept else sorted(dim % len(pairs.program.dims[source].multiples) for dim in dims):
            g = g.unsqueeze(dim)
        x, x0 = pairs.both(source)
        total, total0 = x.logsumexp(dims, keepdim=True), x0.logsumexp(dims, keepdim=True)
        shift = torch.maximum(total, total0)
        yield source, g * (_mean(x - shift, x0 - shift) / _mean(total - shift, total0 - shift))

    return BoundRule(step.slot, step.name, back, frozenset((source,)))


def _mean(x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
    """L(exp x, exp x₀). What a mask left at −inf on both sides has no share."""
    x, x0 = x.clamp_min(-FAR), x0.clamp_min(-FAR)
    return exponential(x, x0, x.exp(), x0.exp())
