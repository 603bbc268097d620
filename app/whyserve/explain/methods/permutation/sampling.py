"""Rows compared with the whole background at the coalitions of one design."""

from dataclasses import dataclass
from functools import lru_cache

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.coalitions import chunks
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.masking import Mask
from whyserve.explain.methods.permutation.designs import Design

Seed = tuple[int, int]
"""Of a call, and the number of the round."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """Rows, the outputs wanted of each, (R, K), and the network's answers there, (R, K) float64."""

    rows: Inputs
    outputs: torch.Tensor
    predictions: torch.Tensor

    def only(self, at: torch.Tensor | slice) -> "SampleRequest":
        """Some of the rows."""
        return SampleRequest({name: x[at] for name, x in self.rows.items()}, self.outputs[at], self.predictions[at])


@lru_cache(maxsize=16)
def renaming(seed: Seed, background: int, players: int) -> torch.Tensor:
    """(B, P): whose part player p plays at background row b; uniformly random, by seed and round alone."""
    generator = torch.Generator().manual_seed((seed[0] * 1_000_003 + seed[1]) % (1 << 63))
    return torch.rand(background, players, generator=generator).argsort(-1)


def sample(
    passes: Passes, design: Design, request: SampleRequest, seed: Seed, progress: Progress
) -> tuple[torch.Tensor, torch.Tensor]:
    """φ over the whole background and its variance, each (R, K, P). Raises Stopped between chunks."""
    background = passes.rows
    places = renaming(seed, background, passes.players.count)
    total = torch.zeros(*request.outputs.shape, passes.players.count, dtype=torch.float64)
    squares = torch.zeros_like(total)
    together = max(1, passes.chunk_rows // (2 * design.pairs))
    for of_rows, of_background, _ in chunks(len(total), background, 1, together):
        mine, some = places[of_background], request.only(of_rows)
        odd = [
            _odd(passes, _stencil(passes, design, seed, of_background, part), some, progress)
            for part in ranges(design.pairs, max(1, passes.chunk_rows // 2))
        ]
        known = passes.background_outputs[of_background][:, some.outputs].transpose(0, 1)
        whole = (some.predictions[:, None] - known) / 2
        values, apart = design.combine(torch.cat(odd, 2).movedim(2, -1), whole)
        player = mine[None, :, None].expand(values.shape)
        total[of_rows] += values.gather(-1, player).sum(1)
        squares[of_rows] += apart.gather(-1, player).sum(1)
    if design.groups > 1:
        variance = design.shrink * squares / (design.groups * (design.groups - 1)) / background**2
    else:
        variance = ((squares - total**2 / background) / (background - 1) / background).clamp(min=0)
    return total / background, variance


def _stencil(passes: Passes, design: Design, seed: Seed, of_background: slice, part: slice) -> Mask:
    """(b, 2m) mixes: the coalitions `part`, and after them their complements."""

    def present() -> torch.Tensor:
        chosen = design.present(renaming(seed, passes.rows, passes.players.count)[of_background], part)
        return torch.cat([chosen, ~chosen], 1)

    key = (design, seed, of_background.start, of_background.stop, part.start, part.stop)
    return passes.masks.get(key, present, {name: x[of_background, None] for name, x in passes.background.items()})


def _odd(passes: Passes, mask: Mask, request: SampleRequest, progress: Progress) -> torch.Tensor:
    """(r, b, m, K) float64: half of what each coalition is worth above its complement."""
    if not progress.go_on():
        raise Stopped
    out = passes(mask.fill(request.rows)).reshape(len(request.outputs), *mask.shape, -1)
    wanted = request.outputs[:, None, None, :].expand(*out.shape[:3], -1)
    inside, outside = out.gather(-1, wanted).double().chunk(2, 2)
    progress.done += out.shape[:3].numel()
    odd: torch.Tensor = (inside - outside) / 2
    return odd
