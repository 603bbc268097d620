"""One round of sampling for one explained row: coalitions, values, and what the designs make of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.masking import mix_pairs
from whyserve.explain.methods.permutation.design import Design, Designs
from whyserve.explain.methods.permutation.guide import changes, fit

Drawn = Sequence[tuple[Design, torch.Tensor]]
"""The designs of one round, each with the numbers of its background rows, (b,)."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One row to explain, (1, *shape) per input; outputs, (K,) column numbers; predictions, (K,) float64.

    shares: (B, P, K) float64, the guide: a first guess of φ in each pair. fits: whether the values of a round are to
        improve the guide of the next one.
    """

    row: Inputs
    outputs: torch.Tensor
    predictions: torch.Tensor
    shares: torch.Tensor
    fits: bool


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one round.

    values, variance: (K, P), φ and the variance of its error. pairs: the pairs evaluated. request: for the next round.
    """

    values: torch.Tensor
    variance: torch.Tensor
    pairs: int
    request: SampleRequest


def sample(
    passes: Passes, designs: Designs, request: SampleRequest, pairs: int, seed: int, progress: Progress
) -> Sample:
    """One round for the whole background.

    pairs: pairs of coalitions per background row, on average. Raises Stopped between chunks of network rows.
    """
    size = request.shares.abs()
    size = (size / size.mean((0, 1)).clamp_min(1e-300)).sum(-1)
    labels, drawn = designs.label(size, seed), list(designs.draw(size, pairs, seed))
    present = players_present(drawn, labels)
    background = torch.cat([rows.repeat_interleave(len(design.signs)) for design, rows in drawn])
    g = half_differences(passes, request, present, background, progress)
    label = labels[..., None].expand(request.shares.shape)
    shares = torch.empty_like(request.shares).scatter_(1, label, request.shares)
    whole = (request.predictions - passes.background_outputs[:, request.outputs]) / 2
    estimate, variance = combine(drawn, g, whole, shares)
    phi = estimate.gather(1, label).mean(0).T
    # Σφ is known. The rounding errors are removed evenly.
    missing = request.predictions - passes.base_values[request.outputs] - phi.sum(-1)
    phi, variance = phi + missing[:, None] / phi.shape[1], variance.gather(1, label).mean(0).T / passes.rows
    if request.fits:
        change = changes(passes.players, request.row, passes.background)
        request = replace(request, shares=fit(g, present, background, change))
    return Sample(phi, variance, len(g), request)


def players_present(drawn: Drawn, labels: torch.Tensor) -> torch.Tensor:
    """(N, P) float32 of 0 and 1: the coalitions of each design, background row by background row."""
    parts = []
    for design, rows in drawn:
        by_player = (design.signs.T > 0).float().index_select(0, labels[rows].flatten())
        parts.append(by_player.reshape(len(rows), labels.shape[1], -1).transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)


def half_differences(
    passes: Passes, request: SampleRequest, present: torch.Tensor, background: torch.Tensor, progress: Progress
) -> torch.Tensor:
    """g, (N, K) float64, of coalitions, (N, P), with background rows, (N,). Raises Stopped between chunks."""
    halves = []
    for part in ranges(len(present), max(1, passes.chunk_rows // 2)):
        if not progress.go_on():
            raise Stopped
        base = {name: x.index_select(0, background[part]) for name, x in passes.background.items()}
        out = passes(mix_pairs(passes.players, present[part], request.row, base))
        one, other = out.index_select(1, request.outputs).double().chunk(2)
        halves.append((one - other) / 2)
        progress.done += len(out)
    return torch.cat(halves)


def combine(
    drawn: Drawn, g: torch.Tensor, whole: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """φ and the variance of its error for each background row, (B, P, K) by label.

    g: (N, K), in the order of players_present. whole: (B, K), g of all players. shares: (B, P, K), the guide by label.
    """
    outputs = g.shape[1]
    lengths = [len(rows) * len(design.signs) for design, rows in drawn]
    values, guesses = [], []
    for (design, rows), own in zip(drawn, g.split(lengths), strict=True):
        by_coalition = own.reshape(len(rows), -1, outputs).transpose(0, 1)
        values.append(torch.cat([by_coalition, whole[rows][None]]))
        guide = shares[rows].transpose(0, 1)
        sums = (design.signs.double() @ guide.flatten(1)).reshape(by_coalition.shape)
        guesses.append(torch.cat([sums, guide.sum(0, keepdim=True)]) / 2)
    factors = guide_factors(values, guesses)
    estimate, variance = torch.empty_like(shares), torch.empty_like(shares)
    for (design, rows), value, guess, factor in zip(drawn, values, guesses, factors, strict=True):
        rest = (value - factor * guess).flatten(1)
        found = (design.estimate @ rest).reshape(-1, len(rows), outputs).transpose(0, 1)
        estimate[rows] = found + factor * shares[rows]
        spread = design.spread @ (design.residual @ rest).square()
        variance[rows] = spread.reshape(-1, len(rows), outputs).transpose(0, 1)
    return estimate, variance


def guide_factors(values: Sequence[torch.Tensor], guesses: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """For each design, the factor of the guide, (K,), by least squares: about 0 if the guide is wrong.

    The designs of even numbers take the factor of the odd ones, and the reverse. A residual then does not depend on
    its own coalition (cross-fitting). A single design takes its own.
    """
    products = torch.stack([(v * w).sum((0, 1)) for v, w in zip(values, guesses, strict=True)])
    squares = torch.stack([w.square().sum((0, 1)) for w in guesses])
    halves = [products[first::2].sum(0) / squares[first::2].sum(0).clamp_min(1e-300) for first in (0, 1)]
    return [halves[(number + 1) % min(2, len(values))] for number in range(len(values))]
