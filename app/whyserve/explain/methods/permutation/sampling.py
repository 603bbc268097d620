"""Compare explained rows with the whole background at the coalitions of one design."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.coalitions import chunks
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.masking import Mask
from whyserve.explain.methods.permutation.designs import Design

Seed = tuple[int, int]
"""The seed of the call, and the number of the round."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Rows to explain, (R, *shape) per input; outputs, (R, K) column numbers; predictions, (R, K) float64."""

    rows: Inputs
    outputs: torch.Tensor
    predictions: torch.Tensor

    def subset(self, index: torch.Tensor | slice) -> "SampleRequest":
        rows = {name: x[index] for name, x in self.rows.items()}
        return SampleRequest(rows, self.outputs[index], self.predictions[index])


@lru_cache(maxsize=16)
def random_labels(seed: Seed, background: int, players: int) -> torch.Tensor:
    """(B, P): the label of player p in the design, for background row b. They depend on seed and round only."""
    generator = torch.Generator().manual_seed((seed[0] * 1_000_003 + seed[1]) % (1 << 63))
    return torch.rand(background, players, generator=generator).argsort(-1)


def sample(
    passes: Passes, design: Design, request: SampleRequest, seed: Seed, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """φ, the mean over the whole background, and its variance, each (R, K, P). Raises Stopped between chunks."""
    background = passes.rows
    labels = random_labels(seed, background, passes.players.count)
    total = torch.zeros(*request.outputs.shape, passes.players.count, dtype=torch.float64)
    squares = torch.zeros_like(total)
    pairs_per_chunk = max(1, passes.chunk_rows // (2 * design.pairs))
    for row_slice, background_slice, _ in chunks(len(total), background, 1, pairs_per_chunk):
        some = request.subset(row_slice)
        differences = [
            _half_differences(passes, _mask(passes, design, seed, background_slice, part), some, progress)
            for part in ranges(design.pairs, max(1, passes.chunk_rows // 2))
        ]
        background_outputs = passes.background_outputs[background_slice][:, some.outputs].transpose(0, 1)
        whole = (some.predictions[:, None] - background_outputs) / 2
        values, spread = design.combine(torch.cat(differences, 2).movedim(2, -1), whole)
        # The design's results are by label. Gathering by the label of each player gives them by player.
        label = labels[background_slice][None, :, None].expand(values.shape)
        total[row_slice] += values.gather(-1, label).sum(1)
        squares[row_slice] += spread.gather(-1, label).sum(1)
    if design.groups > 1:
        # The spread between groups shows the variance of one background row's estimate.
        variance = design.variance_ratio * squares / (design.groups * (design.groups - 1)) / background**2
    else:
        # The spread between background rows includes their own differences: an upper bound.
        variance = ((squares - total**2 / background) / (background - 1) / background).clamp(min=0)
    return total / background, variance


def _mask(passes: Passes, design: Design, seed: Seed, background_slice: slice, part: slice) -> Mask:
    """(b, 2m) mixes: the m coalitions of `part`, then their complements."""

    def present() -> torch.Tensor:
        labels = random_labels(seed, passes.rows, passes.players.count)[background_slice]
        coalitions = design.present(labels, part)
        return torch.cat([coalitions, ~coalitions], 1)

    key = (design, seed, background_slice.start, background_slice.stop, part.start, part.stop)
    return passes.masks.get(key, present, {name: x[background_slice, None] for name, x in passes.background.items()})


def _half_differences(passes: Passes, mask: Mask, request: SampleRequest, progress: Progress) -> torch.Tensor:
    """(r, b, m, K) float64, g of each coalition: half of its output minus that of its complement."""
    if not progress.go_on():
        raise Stopped
    out = passes(mask.fill(request.rows)).reshape(len(request.outputs), *mask.shape, -1)
    columns = request.outputs[:, None, None, :].expand(*out.shape[:3], -1)
    coalition, complement = out.gather(-1, columns).double().chunk(2, 2)
    progress.done += out.shape[:3].numel()
    differences: torch.Tensor = (coalition - complement) / 2
    return differences
