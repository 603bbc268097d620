"""One round of sampling for one explained row: coalitions, values, and what the designs make of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.masking import mix_pairs
from whyserve.explain.methods.permutation.design import Design, Designs
from whyserve.explain.methods.permutation.guide import fit

Drawn = Sequence[tuple[Design, torch.Tensor]]
"""The designs of one round, each with the numbers of its background rows, (b,)."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One row to explain, (1, *shape) per input; outputs, (K,) column numbers; predictions, (K,) float64.

    shares: (B, P, K) float64, the guide: a first guess of φ in each pair. change: (B, P), what guide.changes gives, if
        the guide is fitted to the values of each round.
    """

    row: Inputs
    outputs: torch.Tensor
    predictions: torch.Tensor
    shares: torch.Tensor
    change: torch.Tensor | None = None


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
    passes: Passes, designs: Designs, request: SampleRequest, pairs: int, *, seed: int, progress: Progress
) -> Sample:
    """One round for the whole background.

    pairs: pairs of coalitions per background row, on average. Raises Stopped between chunks of network rows.
    """
    size = request.shares.abs()
    size = (size / size.mean((0, 1)).clamp_min(1e-300)).sum(-1)
    drawn = designs.draw(size, pairs, seed)
    # From here on, the background rows are in the order of the designs.
    order = torch.cat([rows for _, rows in drawn])
    labels = designs.label(size, seed)[order]
    present = players_present(drawn, labels)
    background = torch.cat([rows.repeat(design.pairs) for design, rows in drawn])
    g = half_differences(passes, request, present, background, progress)
    if request.change is not None:
        request = replace(request, shares=fit_halves(request, drawn, g, present, background))
    label = labels.T[..., None].expand(-1, -1, len(request.outputs))
    shares = torch.empty(label.shape, dtype=torch.float64).scatter_(0, label, request.shares[order].transpose(0, 1))
    whole = (request.predictions - passes.background_outputs[:, request.outputs][order]) / 2
    estimate, variance = combine(drawn, g, whole, shares)
    phi, variance = estimate.gather(0, label).mean(1).T, variance.gather(0, label).mean(1).T / passes.rows
    # Σφ is known. The rounding errors are removed evenly.
    missing = request.predictions - passes.base_values[request.outputs] - phi.sum(-1)
    return Sample(phi + missing[:, None] / phi.shape[1], variance, len(g), request)


def players_present(drawn: Drawn, labels: torch.Tensor) -> torch.Tensor:
    """(N, P) float32 of 0 and 1: design by design, each coalition for all background rows of the design.

    labels: (B, P), in the order of the designs.
    """
    parts = []
    for (design, rows), own in zip(drawn, torch.split(labels, [len(rows) for _, rows in drawn]), strict=True):
        by_player = design.present.index_select(0, own.flatten())
        parts.append(by_player.reshape(len(rows), -1, design.pairs).permute(2, 0, 1).flatten(0, 1))
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
        nan = passes.network.takes_nan
        out = passes(mix_pairs(passes.players, present[part], request.row, base, nan=nan))
        one, other = out.index_select(1, request.outputs).double().chunk(2)
        halves.append((one - other) / 2)
        progress.done += len(out)
    return torch.cat(halves)


def fit_halves(
    request: SampleRequest, drawn: Drawn, g: torch.Tensor, present: torch.Tensor, background: torch.Tensor
) -> torch.Tensor:
    """The guide, (B, P, K), fitted to g, (N, K), of coalitions, (N, P), with background rows, (N,).

    The guide of one half of the designs is fitted to the values of the other half: a residual then does not depend on
    its own coalition (cross-fitting). A single design has no other half.
    """
    assert request.change is not None, "a guide is fitted to changes"
    shares, signs = request.shares, present.double() - 0.5
    guess = torch.stack([(signs * of_output[background]).sum(1) for of_output in shares.unbind(-1)], 1)
    half = torch.zeros(len(shares), dtype=torch.bool)
    for _, rows in drawn[1::2]:
        half[rows] = True
    fitted = []
    for other in (True, False):
        part = half[background] == other if len(drawn) > 1 else torch.ones(len(g), dtype=torch.bool)
        fitted.append(fit((g - guess)[part], present[part], background[part], request.change))
    return shares + torch.where(half[:, None, None], fitted[1], fitted[0])


def combine(
    drawn: Drawn, g: torch.Tensor, whole: torch.Tensor, shares: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """φ and the variance of its error for each background row, (P, B, K) by label.

    g: (N, K), in the order of players_present. whole: (B, K), g of all players. shares: (P, B, K), the guide by label.
    """
    sharing = [len(rows) for _, rows in drawn]
    guides = [part.flatten(1) for part in torch.split(shares, sharing, 1)]
    guess = torch.cat([(d.signs @ guide).reshape(-1, g.shape[1]) for (d, _), guide in zip(drawn, guides, strict=True)])
    # A guide that leaves more than it explains is not used.
    factor = ((g - guess).square().sum(0) < g.square().sum(0)).double()
    rests = torch.split(g - factor * guess, [len(rows) * design.pairs for design, rows in drawn])
    wholes = torch.split(whole - factor * shares.sum(0) / 2, sharing)
    estimates, variances = [], []
    for (design, _), rest, last in zip(drawn, rests, wholes, strict=True):
        values = torch.cat([rest.reshape(design.pairs, -1), last.reshape(1, -1)])
        estimates.append(design.estimate @ values)
        variances.append(design.spread @ (design.residual @ values).square_())
    estimate, variance = (torch.cat(each, 1).reshape(shares.shape) for each in (estimates, variances))
    return estimate + factor * shares, variance
