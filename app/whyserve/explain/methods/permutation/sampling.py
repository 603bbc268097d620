"""One round of sampling for one explained row: coalitions, values, guide, kriging, correction."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.masking import mix
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.permutation.design import Design, draw_designs, label_players
from whyserve.explain.methods.permutation.guide import changes, fit
from whyserve.explain.methods.permutation.kriging import krige, prior, sizes_by_label


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One row to explain, (1, *shape) per input; outputs, (K,) column numbers; predictions, (K,) float64.

    shares: (B, P, K), what `deep` gives each player in each pair; 0 where `deep` has no rules.
    change: (B, P), what guide.changes gives. shared: whether background rows share designs: only if `deep` says which
        players are alike.
    """

    row: Inputs
    outputs: torch.Tensor
    predictions: torch.Tensor
    shares: torch.Tensor
    change: torch.Tensor
    shared: bool


def make_request(
    passes: Passes, deep: Deep | None, row: Inputs, outputs: torch.Tensor, predictions: torch.Tensor
) -> SampleRequest:
    """outputs, predictions: (K,)."""
    shares = torch.zeros(passes.rows, passes.players.count, len(outputs), dtype=torch.float64)
    if deep is not None:
        found = deep.pair_shares(row, outputs[None]).movedim(0, -1)
        shares = found if bool(torch.isfinite(found).all()) else shares
    change = changes(passes.players, row, passes.background)
    return SampleRequest(row, outputs, predictions, shares, change, shared=deep is not None)


@dataclass(frozen=True, slots=True)
class Coalitions:
    """N coalitions of players: those of all designs, for each of their background rows.

    signs: (N, P) of ±1. background: (N,). of_member, of_other: (N,), what a leave-one-out residual adds to the Shapley
    value of a member and of another player, averaged over the background (see Design). The residuals of coalitions
    that are evaluated anyway are 0. unseen: (N,), as in Design.
    """

    signs: torch.Tensor
    background: torch.Tensor
    of_member: torch.Tensor
    of_other: torch.Tensor
    unseen: torch.Tensor


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one round.

    values, variance: (K, P), φ and the variance of its error. pairs: the pairs evaluated. shares: the fitted guide,
    (B, P, K), with which the next round begins.
    """

    values: torch.Tensor
    variance: torch.Tensor
    pairs: int
    shares: torch.Tensor


def sample(passes: Passes, request: SampleRequest, pairs: int, seed: int, progress: Progress) -> Sample:
    """One round for the whole background.

    pairs: pairs of coalitions per background row, on average. Raises Stopped between chunks of network rows.
    """
    generator, players = torch.Generator().manual_seed(seed), passes.players.count
    size = request.shares.abs()
    size = (size / size.mean((0, 1)).clamp_min(1e-300)).sum(-1)
    labels = label_players(size, generator)
    designs = draw_designs(players, size.sum(1), pairs, generator, shared=request.shared)
    coalitions = list_coalitions(designs, labels)
    g = half_differences(passes, request, coalitions, progress)
    shares = fit_halves(request, designs, coalitions, g, of_shares(request.shares, designs, labels))
    g -= of_shares(shares, designs, labels)
    whole = (request.predictions - passes.background_outputs[:, request.outputs] - shares.sum(1)) / 2
    rest, residuals = krige_designs(designs, labels, sizes_by_label(shares, labels), g, whole)
    correction, variance = correct(residuals, coalitions)
    phi = (shares.mean(0) + rest + correction).T
    # Σφ is known. The rounding errors are removed evenly.
    missing = request.predictions - passes.base_values[request.outputs] - phi.sum(-1)
    return Sample(phi + missing[:, None] / players, variance.T, len(g), shares)


def list_coalitions(designs: Sequence[Design], labels: torch.Tensor) -> Coalitions:
    """The coalitions of each design, background row by background row. labels: (B, P)."""
    rows, players = labels.shape
    signs, background, of_member, of_other, unseen = [], [], [], [], []
    for design in designs:
        count, sharing = len(design.size), len(design.background)
        by_label = torch.where(design.present, 1.0, -1.0)
        signs.append(by_label[:, labels[design.background]].transpose(0, 1).flatten(0, 1))
        background.append(design.background.repeat_interleave(count))
        weight = (players - 1) / rows * design.weight * design.unseen
        of_member.append((weight / design.size).repeat(sharing))
        of_other.append((weight / (design.size - players)).repeat(sharing))
        unseen.append(design.unseen.repeat(sharing))
    return Coalitions(*(torch.cat(each) for each in (signs, background, of_member, of_other, unseen)))


def half_differences(
    passes: Passes, request: SampleRequest, coalitions: Coalitions, progress: Progress
) -> torch.Tensor:
    """g, (N, K) float64. Raises Stopped between chunks."""
    g = torch.empty(len(coalitions.signs), len(request.outputs), dtype=torch.float64)
    for part in ranges(len(g), max(1, passes.chunk_rows // 2)):
        if not progress.go_on():
            raise Stopped
        present = coalitions.signs[part] > 0
        background = {name: x[coalitions.background[part]] for name, x in passes.background.items()}
        coalition = mix(passes.players, present, request.row, background)
        complement = mix(passes.players, ~present, request.row, background)
        out = passes({name: torch.cat([x, complement[name]]) for name, x in coalition.items()})
        one, other = out[:, request.outputs].double().chunk(2)
        g[part] = (one - other) / 2
        progress.done += 2 * len(present)
    return g


def fit_halves(
    request: SampleRequest, designs: Sequence[Design], coalitions: Coalitions, g: torch.Tensor, guess: torch.Tensor
) -> torch.Tensor:
    """The guide, (B, P, K). g and guess: (N, K), all values and those of request.shares.

    The guide of one half of the designs is fitted to the values of the other half: a residual then does not depend on
    its own coalition (cross-fitting). A single design has no other half.
    """
    half = torch.zeros(len(request.shares), dtype=torch.bool)
    for design in designs[1::2]:
        half[design.background] = True
    fitted = []
    for other in (True, False):
        part = half[coalitions.background] == other if len(designs) > 1 else torch.ones(len(g), dtype=torch.bool)
        given = {"background": coalitions.background[part], "change": request.change, "shares": request.shares}
        fitted.append(fit(g[part] - guess[part], guess[part], coalitions.signs[part], **given))
    return torch.where(half[:, None, None], fitted[1], fitted[0])


def of_shares(shares: torch.Tensor, designs: Sequence[Design], labels: torch.Tensor) -> torch.Tensor:
    """g of the guide, (N, K), in the order of list_coalitions. shares: (B, P, K). labels: (B, P)."""
    values = []
    by_label = torch.zeros_like(shares).scatter_(1, labels[..., None].expand(shares.shape), shares)
    for design in designs:
        signs = torch.where(design.present, 0.5, -0.5).double()
        values.append((signs @ by_label[design.background]).flatten(0, 1))
    return torch.cat(values)


def krige_designs(
    designs: Sequence[Design], labels: torch.Tensor, sizes: torch.Tensor, g: torch.Tensor, whole: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The posterior mean of φ, averaged over the background, (P, K), and the leave-one-out residuals, (N, K).

    sizes: (B, P), what sizes_by_label gives. g: (N, K) in the order of list_coalitions. whole: (B, K), g of all
    players.
    """
    rows, players = labels.shape
    outputs, first = g.shape[1], 0
    total, residuals = g.new_zeros(players, outputs), torch.empty_like(g)
    for design in designs:
        count, sharing = len(design.size), len(design.background)
        part = slice(first, first + count * sharing)
        first = part.stop
        own = g[part].reshape(sharing, count, outputs).transpose(0, 1)
        values = torch.cat([own, whole[design.background][None]]).flatten(1)
        phi, residual = krige(design.present, design.weight, prior(sizes[design.background]), values)
        residuals[part] = residual.reshape(count, sharing, outputs).transpose(0, 1).flatten(0, 1)
        by_label = phi.reshape(players, sharing, outputs).transpose(0, 1)
        label = labels[design.background][..., None].expand(by_label.shape)
        total += by_label.gather(1, label).sum(0) / rows
    return total, residuals


def correct(residuals: torch.Tensor, coalitions: Coalitions) -> tuple[torch.Tensor, torch.Tensor]:
    """The correction of φ and the variance of the error, each (P, K).

    A leave-one-out residual does not depend on its own coalition. The Shapley values of the residuals, estimated
    without bias, are therefore the bias of the leave-one-out posteriors.
    """
    signs = coalitions.signs.double()
    member, other = coalitions.of_member[:, None] * residuals, coalitions.of_other[:, None] * residuals
    # Of a finite population, a sum varies with the share that is not drawn, and not with its square.
    member2, other2 = member.square() / coalitions.unseen[:, None], other.square() / coalitions.unseen[:, None]
    both = torch.cat([(member - other) / 2, (member2 - other2) / 2], 1)
    mean = torch.cat([(member + other) / 2, (member2 + other2) / 2], 1).sum(0)
    correction, variance = (signs.T @ both + mean).chunk(2, 1)
    return correction, variance.clamp_min(0)
