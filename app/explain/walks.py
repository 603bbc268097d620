"""Rows compared with the whole background at the coalitions of one design."""

from dataclasses import dataclass

import torch

from app.explain.attribution import Inputs, Stopped
from app.explain.exact import boxes
from app.explain.orders import Design
from app.explain.passes import Pace, Passes, ranges


@dataclass(frozen=True, slots=True)
class Asked:
    """Rows, the outputs wanted of each, (R, K), and the network's answers there, (R, K) float64."""

    rows: Inputs
    outputs: torch.Tensor
    predictions: torch.Tensor

    def only(self, at: torch.Tensor | slice) -> "Asked":
        """Some of the rows."""
        return Asked({name: x[at] for name, x in self.rows.items()}, self.outputs[at], self.predictions[at])


def renaming(seed: tuple[int, int], background: int, players: int) -> torch.Tensor:
    """(B, P): whose part player p plays at background row b; uniformly random, by seed and round alone."""
    generator = torch.Generator().manual_seed((seed[0] * 1_000_003 + seed[1]) % (1 << 63))
    return torch.rand(background, players, generator=generator).argsort(-1)


def sample(
    passes: Passes, design: Design, asked: Asked, places: torch.Tensor, pace: Pace
) -> tuple[torch.Tensor, torch.Tensor]:
    """φ over the whole background and its variance, each (R, K, P). Raises Stopped between chunks."""
    background = passes.rows
    total = torch.zeros(*asked.outputs.shape, passes.players.count, dtype=torch.float64)
    squares = torch.zeros_like(total)
    together = max(1, passes.chunk_rows // (2 * design.pairs))
    for of_rows, of_background, _ in boxes(len(total), background, 1, together):
        mine, some = places[of_background], asked.only(of_rows)
        odd = torch.cat(
            [
                _odd(passes, design.present(mine, part), some, of_background, pace)
                for part in ranges(design.pairs, max(1, passes.chunk_rows // 2))
            ],
            2,
        )
        known = passes.background_outputs[of_background][:, some.outputs].transpose(0, 1)
        values, parts = design.combine(odd.movedim(2, -1), (some.predictions[:, None] - known) / 2)
        # One walk can tell no more than how values differ over the pairs, their true differences included.
        apart = parts - parts.mean(-2, keepdim=True) if design.groups > 1 else parts
        player = mine[None, :, None].expand(values.shape)
        total[of_rows] += values.gather(-1, player).sum(1)
        squares[of_rows] += apart.square().sum(-2).gather(-1, player).sum(1)
    if design.groups > 1:
        variance = design.shrink * squares / (design.groups * (design.groups - 1)) / background**2
    else:
        variance = ((squares - total**2 / background) / (background - 1) / background).clamp(min=0)
    return total / background, variance


def _odd(passes: Passes, present: torch.Tensor, asked: Asked, of_background: slice, pace: Pace) -> torch.Tensor:
    """(r, b, m, K) float64: half of what each coalition is worth above its complement."""
    if not pace.go_on():
        raise Stopped
    both = torch.cat([present, ~present], 1)
    mixed = passes.players.mix(
        both[None],
        {name: x[:, None, None] for name, x in asked.rows.items()},
        {name: x[None, of_background, None] for name, x in passes.background.items()},
    )
    shape = (len(asked.outputs), *both.shape[:2])
    out = passes({name: x.flatten(0, 2) for name, x in mixed.items()}).reshape(*shape, -1)
    inside, outside = out.take_along_dim(asked.outputs[:, None, None, :], -1).double().chunk(2, 2)
    pace.done += shape[0] * shape[1] * shape[2]
    odd: torch.Tensor = (inside - outside) / 2
    return odd
