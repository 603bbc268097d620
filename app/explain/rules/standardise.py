"""Layer, group and instance norm taken whole: (u − mean u)/σ, along the straight line between the pair."""

from math import prod

import torch

from app.errors import UnsupportedNetwork
from app.explain.rules.pairs import Pairs, nodes
from app.explain.rules.program import Program, Ref, Step
from app.explain.rules.registry import Move, Shares, rule


def standardised(
    x: torch.Tensor, x0: torch.Tensor, g: torch.Tensor, dims: tuple[int, ...], *, eps: float, centred: bool
) -> torch.Tensor:
    """Multipliers of x, for a multiplier g of the standardised x over `dims`.

    With u(t) = u₀ + t d centred and v(t) = mean u² + eps, the averaged Jacobian needs four numbers a group alone:
    ∫v^(−1/2) and ∫t^k v^(−3/2) for k = 0, 1, 2. v is a quadratic in t, so that they have closed forms.
    """
    if centred:
        x, x0 = x - x.mean(dims, keepdim=True), x0 - x0.mean(dims, keepdim=True)
    d = x - x0
    a, b, c = (m.mean(dims, keepdim=True, dtype=torch.float64) for m in (d * d, d * x0, x0 * x0))
    scale, i0, i1, i2 = (i.to(x.dtype) for i in _integrals(a, b, c + eps))
    g0, gd = (g * x0).mean(dims, keepdim=True), (g * d).mean(dims, keepdim=True)
    result = g * scale - x0 * (i0 * g0 + i1 * gd) - d * (i1 * g0 + i2 * gd)
    return result - result.mean(dims, keepdim=True) if centred else result


def _integrals(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> list[torch.Tensor]:
    """∫v^(−1/2), ∫v^(−3/2), ∫t v^(−3/2), ∫t² v^(−3/2) over (0, 1) with v = a t² + 2 b t + c > 0, in float64."""
    sums = [torch.zeros_like(a) for _ in range(4)]
    for at, weight in zip(*nodes(24, a.dtype), strict=True):
        one = (a * at * at + 2 * b * at + c).rsqrt()
        cube = one**3
        for total, term in zip(sums, (one, cube, at * cube, at * at * cube), strict=True):
            total.add_(weight * term)
    # v is least at −b/a, and a root lies √rest/a beside it: near (0, 1) quadrature fails and the closed form does not.
    safe = torch.where(a > 0, a, 1.0)
    rest = (a * c - b * b).clamp_min(torch.finfo(a.dtype).tiny)
    least = -b / safe
    sharp = (a > 0) & (rest < 0.25 * a * a) & (least > -1) & (least < 2)
    if not sharp.any():
        return sums
    ends = []
    for t in (0.0, 1.0):
        root = (a * t * t + 2 * b * t + c).sqrt()
        mean = torch.asinh((a * t + b) / rest.sqrt()) / safe.sqrt()
        k0, k1 = (a * t + b) / (rest * root), -(b * t + c) / (rest * root)
        ends.append((mean, k0, k1, (mean - 2 * b * k1 - c * k0) / safe))
    exact = (high - low for low, high in zip(*ends, strict=True))
    return [torch.where(sharp, e, s) for e, s in zip(exact, sums, strict=True)]


@rule("aten.native_layer_norm")
def layer(step: Step, program: Program) -> Move | None:
    """Over the last dimensions, then scaled by a constant weight."""
    x, shape, weight, _, eps = step.args
    if step.live != (x.slot,) or program.dims[x.slot].batch >= len(program.dims[x.slot].multiples) - len(shape):
        return None
    scale = None if weight is None else program.constants[weight.slot]
    dims = tuple(range(-len(shape), 0))

    def back(pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        _only_first(step, g)
        wide = pairs.wide(x.slot, g[0] if scale is None else g[0] * scale, rows)
        yield x.slot, standardised(*pairs.both(x.slot), wide, dims, eps=eps, centred=True)

    return Move(step.slot, step.name, back, frozenset((x.slot,)))


@rule("aten._fused_rms_norm", "aten.rms_norm")
def root_mean_square(step: Step, program: Program) -> Move | None:
    """As layer norm, not centred (Zhang & Sennrich 2019)."""
    x, shape, weight, eps = (*step.args, None, None)[:4]
    if step.live != (x.slot,):
        return None
    scale = None if weight is None else program.constants[weight.slot]
    dims = tuple(range(-len(shape), 0))

    def back(pairs: Pairs, g: dict[int, torch.Tensor] | torch.Tensor, rows: int) -> Shares:
        first = g if isinstance(g, torch.Tensor) else g[0]
        wide = pairs.wide(x.slot, first if scale is None else first * scale, rows)
        least = torch.finfo(pairs.dtype).eps if eps is None else eps
        yield x.slot, standardised(*pairs.both(x.slot), wide, dims, eps=least, centred=False)

    return Move(step.slot, step.name, back, frozenset((x.slot,)))


@rule("aten.native_group_norm")
def group(step: Step, program: Program) -> Move | None:
    """Over the channels of a group and all positions."""
    x, weight, _, _, channels, positions, groups, eps = step.args
    if step.live != (x.slot,):
        return None
    shape = program.dims[x.slot].multiples
    scale = None if weight is None else program.constants[weight.slot].reshape(-1, *[1] * (len(shape) - 2))
    assert prod(shape[1:]) == channels * positions

    def back(pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        _only_first(step, g)
        wide = pairs.wide(x.slot, g[0] if scale is None else g[0] * scale, rows)
        u, u0, v = (part.reshape(part.shape[0], groups, -1) for part in (*pairs.both(x.slot), wide))
        yield x.slot, standardised(u, u0, v, (-1,), eps=eps, centred=True).reshape(wide.shape)

    return Move(step.slot, step.name, back, frozenset((x.slot,)))


@rule("aten._native_batch_norm_legit", "aten._native_batch_norm_legit_functional", "aten.native_batch_norm")
def instance(step: Step, program: Program) -> Move | None:
    """Batch norm by the statistics at hand: instance norm where rows and channels are one dimension."""
    x, weight = step.args[0], step.args[1]
    if step.live != (x.slot,):
        return None
    if program.dims[x.slot].batch != 1:
        raise UnsupportedNetwork(
            f"{step.name} normalises over the rows of the batch, as batch norm in training mode does: an answer for"
            " one row would depend on the others"
        )
    eps = step.args[-1]
    axes = tuple(i for i in range(len(program.dims[x.slot].multiples)) if i != 1)

    def back(pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        _only_first(step, g)
        wide = pairs.wide(x.slot, g[0], rows)
        if isinstance(weight, Ref):
            wide = wide * pairs.around(pairs.count)[weight.slot].reshape(-1, *[1] * (len(axes) - 1))
        yield x.slot, standardised(*pairs.both(x.slot), wide, axes, eps=eps, centred=True)

    return Move(step.slot, step.name, back, frozenset((x.slot,)))


def _only_first(step: Step, g: dict[int, torch.Tensor]) -> None:
    if set(g) - {0}:
        raise UnsupportedNetwork(f"{step.name} gives its mean or deviation to the network, which has no rule")
