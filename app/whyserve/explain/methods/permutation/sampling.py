"""One round of sampling for one explained row: coalitions, values, and what the designs make of them."""

from dataclasses import dataclass, replace

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.masking import PairMixer
from whyserve.explain.methods.permutation.first_layer import FirstLayer
from whyserve.explain.methods.permutation.guide import fit
from whyserve.explain.methods.permutation.rounds import Draw, Round, Rounds

# The guide is multiplied by a number up to MOST_PART, rounded to one of so many parts of 1.
MOST_PART, PARTS = 2, 64


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One row to explain, (1, *shape) per input; outputs, (K,) column numbers; predictions, (K,) float64.

    shares: (B, P, K) float64, the guide: a first guess of φ in each pair. change: (B, P), what guide.changes gives, if
        the guide is fitted to the values of each round.
    first: the network in two parts, if it is of a kind for which this is cheaper.
    """

    row: Inputs
    outputs: torch.Tensor
    predictions: torch.Tensor
    shares: torch.Tensor
    change: torch.Tensor | None = None
    first: FirstLayer | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """The result of one round.

    parts: (3, K, P): the posterior mean of φ, its correction, and the variance of the error of their sum.
    pairs: the pairs evaluated. request: for the next round.
    """

    parts: torch.Tensor
    pairs: int
    request: SampleRequest


def sample(
    passes: Passes, rounds: Rounds, request: SampleRequest, pairs: int, *, seed: int, progress: Progress
) -> Sample:
    """One round for the whole background.

    pairs: pairs of coalitions per background row, on average. Raises Stopped between chunks of network rows.
    """
    size = request.shares.abs()
    # The outputs count alike.
    size = size @ size.sum((0, 1)).clamp_min_(1e-300).reciprocal_() if size.shape[-1] > 1 else size[..., 0]
    drawn, rows, labels = rounds.draw(size, pairs, seed)
    g = half_differences(passes, request, (drawn, rows, labels), progress)
    if request.change is not None:
        request = replace(request, shares=fit_halves(request, (drawn, rows, labels), g))
    label = labels[..., None].expand(-1, -1, len(request.outputs))
    shares = torch.empty(label.shape, dtype=torch.float64).scatter_(1, label, request.shares.index_select(0, rows))
    background = passes.background_outputs.index_select(1, request.outputs).index_select(0, rows)
    found = combine(drawn, g, (request.predictions - background).mul_(0.5), shares)
    # Of one slot of each background row, the label of each player among all labels of all slots.
    players = labels.shape[1]
    chosen = labels.index_select(0, drawn.slots).add_(drawn.slots[:, None], alpha=players).flatten()
    by_player = found.flatten(0, 1).index_select(0, chosen).reshape(passes.rows, -1)
    parts = by_player.sum(0).div_(passes.rows).reshape(players, 3, -1).permute(1, 2, 0).contiguous()
    # Σφ is known. What is missing is added evenly.
    missing = request.predictions - passes.base_values[request.outputs] - parts[:2].sum((0, 2))
    parts[0].add_(missing[:, None], alpha=1 / players)
    parts[2].div_(passes.rows)
    return Sample(parts, len(g), request)


def half_differences(passes: Passes, request: SampleRequest, draw: Draw, progress: Progress) -> torch.Tensor:
    """g, (N, K) float64, of the coalitions of a round. Raises Stopped between chunks."""
    drawn, rows, labels = draw
    first, halves = request.first, []
    rest = first.rest if first else None
    mix = first.mixer(request.row) if first else PairMixer(passes.players, request.row, passes.background).mix
    for part in ranges(len(drawn.slot), max(1, passes.chunk_rows // 2)):
        if not progress.go_on():
            raise Stopped
        slot = drawn.slot[part]
        out = passes(mix(drawn.present[part].gather(1, labels.index_select(0, slot)), rows.index_select(0, slot)), rest)
        one, other = out.index_select(1, request.outputs).double().chunk(2)
        halves.append(torch.sub(one, other).mul_(0.5))
        progress.done += len(out)
    return torch.cat(halves) if len(halves) > 1 else halves[0]


def fit_halves(request: SampleRequest, draw: Draw, g: torch.Tensor) -> torch.Tensor:
    """The guide, (B, P, K), fitted to g, (N, K), of the coalitions of a round.

    The guide of one half of the designs is fitted to the values of the other half: a residual then does not depend on
    its own coalition (cross-fitting). A single design has no other half.
    """
    assert request.change is not None, "a guide is fitted to changes"
    drawn, rows, labels = draw
    shares, background = request.shares, rows[drawn.slot]
    present = drawn.present.gather(1, labels.index_select(0, drawn.slot)).neg().float()
    signs, designs = present.double() - 0.5, len(drawn.signs)
    guess = torch.stack([(signs * of_output[background]).sum(1) for of_output in shares.unbind(-1)], 1)
    half = torch.zeros(len(shares), dtype=torch.bool)
    half[rows] = torch.arange(len(rows)) // (len(rows) // designs) % 2 == 1
    fitted = []
    for other in (True, False):
        part = half[background] == other if designs > 1 else torch.ones(len(g), dtype=torch.bool)
        fitted.append(fit((g - guess)[part], present[part], background[part], request.change))
    return shares + torch.where(half[:, None, None], fitted[1], fitted[0])


def combine(drawn: Round, g: torch.Tensor, whole: torch.Tensor, shares: torch.Tensor) -> torch.Tensor:
    """(S, P, 3K) by slot and label: the posterior mean of φ, its correction, and the variance of the error of both.

    g: (N, K). whole: (S, K), g of all players. shares: (S, P, K), the guide by label.
    """
    designs, outputs = len(drawn.signs), g.shape[1]
    # Each design is one matrix: its lines are labels or coalitions, its columns are slots and outputs.
    guide = shares.reshape(designs, -1, *shares.shape[1:]).transpose(1, 2).flatten(2)
    values = torch.cat([g, g.new_zeros(1, outputs), whole]).index_select(0, drawn.index)
    values = values.reshape(designs, -1, guide.shape[-1])
    rest = torch.baddbmm(values, drawn.signs, guide, alpha=-1)
    # The part of the guide that makes the leave-one-out variance smallest, by least squares over all designs.
    before, left = (drawn.residual @ torch.cat([values, rest], -1).float()).chunk(2, -1)
    of_guide = before - left
    products = drawn.total @ torch.cat([before * of_guide, of_guide.square()], -1).double().flatten(0, 1)
    shared, square = products.reshape(2, -1, outputs).sum(1)
    part = (shared / square.clamp_min(1e-300)).mul_(PARTS).round_().div_(PARTS).clamp_(0, MOST_PART)
    part = part.repeat(guide.shape[-1] // outputs)
    # The differences are 0 where the whole guide is used, so a guide that is exact stays exact.
    rest, left = rest.lerp(values, 1 - part), left.addcmul(of_guide, (1 - part).float())
    guide, square = guide * part, left.double().square_()
    found = torch.baddbmm(guide, drawn.posterior, rest), (drawn.correction @ left).double(), drawn.spread @ square
    by_slot = torch.stack(found, 2).reshape(*guide.shape[:2], 3, -1, outputs).permute(0, 3, 1, 2, 4)
    return by_slot.reshape(len(whole), -1, 3 * outputs)
