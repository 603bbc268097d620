"""Softmax, log-softmax and logsumexp, each as one operation, by logarithmic means.

Let L(a, b) = (a − b)/(ln a − ln b), which is a at a = b, and let S = Σ e with e = exp(x). Then Δ ln S = Σ w Δx with
w = L(e, e₀)/L(S, S₀), and Δp = L(p, p₀) Δ ln p for a probability p. This is index decomposition without a residual
(Ang 2004). L is concave and homogeneous, so Σ w ≤ 1, and no share is larger than the changes of the logits. Rules for
exp, sum and reciprocal one by one would give huge shares that cancel.

A logit with Δx = 0 has the limit of its weight, e/L(S, S₀), so the players behind it keep their shares.
"""

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.rules.elementwise import FAR, mean_of_exponentials


def softmax(step: Step, program: Program) -> BoundRule:
    """g L(p, p₀) − w Σ g L(p, p₀); for the logarithm, g − w Σ g."""
    (source,), dims = step.live, program.dims[step.live[0]]
    logarithmic, size = "log" in step.name, len(dims.multiples)
    # With pairs apart, there are more dimensions at the batch, so later ones are counted from the end.
    dim = step.args[1] % size if step.args[1] % size < dims.batch else step.args[1] % size - size

    columns = dims.multiples[dim % size]
    sizes = [columns, 1] if logarithmic else [columns, 1, columns]

    def parts(x: torch.Tensor) -> torch.Tensor:
        """Logits, their total, and logarithms of probabilities: one call for all takes the time of one for a few."""
        total = x.logsumexp(dim, keepdim=True)
        return torch.cat([x, total] if logarithmic else [x, total, x - total], dim).clamp_min_(-FAR)

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.unflatten(step.slot, g, rows)
        x, x0 = parts(pairs.row(source)), pairs.of_base(step.slot, lambda: parts(pairs.base(source)))
        larger = torch.maximum(x, x0)
        # One shift for both sides and all logits: the larger total.
        larger.narrow(dim, 0, columns + 1).sub_(larger.narrow(dim, columns, 1).clone())
        means = mean_of_exponentials(x, x0, larger.exp_())
        of_x, of_total, *of_p = means.split_with_sizes(sizes, dim)
        for each in of_p:
            g = g * each
        yield source, pairs.flatten_pairs(source, g - of_x / of_total * g.sum(dim, keepdim=True))

    return BoundRule(step.slot, back, frozenset((source,)))


def log_of_sum(step: Step, _: Program) -> BoundRule | None:
    """g w over the summed dimensions."""
    (source,), dims, kept = step.live, tuple(step.args[1]), step.argument(2, False)

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        g = pairs.expand_pairs(step.slot, g, rows)
        for dim in () if kept else sorted(dim % len(pairs.program.dims[source].multiples) for dim in dims):
            g = g.unsqueeze(dim)
        x, x0 = pairs.both(source)
        total, total0 = x.logsumexp(dims, keepdim=True), x0.logsumexp(dims, keepdim=True)
        shift = torch.maximum(total, total0)
        yield source, g * (_mean(x - shift, x0 - shift) / _mean(total - shift, total0 - shift))

    return BoundRule(step.slot, back, frozenset((source,)))


def _mean(x: torch.Tensor, x0: torch.Tensor) -> torch.Tensor:
    """L(exp x, exp x₀). A logit that a mask sets to −∞ on both sides has no share."""
    x, x0 = x.clamp_min(-FAR), x0.clamp_min(-FAR)
    return mean_of_exponentials(x, x0, torch.maximum(x, x0).exp_())
