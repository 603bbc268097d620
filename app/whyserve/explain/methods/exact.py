"""Exact Shapley values by enumeration (Shapley 1953) of the interventional game (Lundberg & Lee 2017)."""

from collections.abc import Iterator
from functools import partial
from math import comb
from typing import ClassVar

import torch

from whyserve.errors import TooManyPlayers
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.evaluation import Pace, Passes, check_rows, ranges
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players

MOST_PLAYERS = 16


class Exact:
    """φ = W v over all 2^P coalitions, v(S) the mean of f over rows with S from the instance, the rest from background.

    Costs (2^P − 2)·B + 1 network rows an instance. Values come in float64, network passes in its own dtype.
    Raises TooManyPlayers beyond 16, UnsupportedNetwork as Passes does.
    """

    method: ClassVar[str] = "exact"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        if players.count > MOST_PLAYERS:
            raise TooManyPlayers(
                f"exact enumerates 2^players coalitions and takes at most {MOST_PLAYERS} players; here are"
                f" {players.count}: group them, or choose another method",
                players=players.count,
                limit=MOST_PLAYERS,
            )
        self.passes = Passes(network, background, players, memory_bytes)
        self.coalitions = coalitions(players.count)
        self.weights = shapley_weights(self.coalitions)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`.

        Raises InvalidInput for rows of another shape, UnsupportedNetwork for an output that is not finite, and
        Stopped at a stop or a deadline: half an enumeration answers nothing.
        """
        rows = check_rows(rows, self.passes.background, self.passes.players)
        value = worth(self.passes, self.coalitions, rows, outputs, Pace(limits, self.cost(row_count(rows))))
        return Attribution(
            values=torch.einsum("ps,rsk->rkp", self.weights, value),
            base_values=value[:, 0],
            predictions=value[:, -1],
            rows_evaluated=self.cost(row_count(rows)) + row_count(rows),
        )

    def cost(self, rows: int) -> int:
        """Network rows for `rows` instances, the instances themselves aside."""
        return rows * max(0, len(self.coalitions) - 2) * self.passes.rows


def worth(passes: Passes, coalitions: torch.Tensor, rows: Inputs, outputs: torch.Tensor, pace: Pace) -> torch.Tensor:
    """v, (R, 2^P, K) float64, of all coalitions: the empty one is known from construction, the full one is the row."""
    value = torch.zeros(row_count(rows), len(coalitions), outputs.shape[1], dtype=torch.float64)
    value[:, 0] = passes.base_values[outputs]
    value[:, -1] = passes.table(rows).gather(1, outputs)
    value[:, 1:-1] = means(passes, coalitions[1:-1], rows, outputs, pace, key="all")
    pace.go_on()
    return value


def means(
    passes: Passes, present: torch.Tensor, rows: Inputs, outputs: torch.Tensor, pace: Pace, *, key: str | None = None
) -> torch.Tensor:
    """(R, C, K) float64: the network's mean over the background, at each coalition of `present`, (C, P) bool.

    key: a name by which mixes are kept for the next call; equal names must mean equal coalitions.
    Raises Stopped between chunks.
    """
    value = torch.zeros(row_count(rows), len(present), outputs.shape[1], dtype=torch.float64)
    for of_rows, of_coalitions, of_background in boxes(len(value), len(present), passes.rows, passes.chunk_rows):
        if not pace.go_on():
            raise Stopped
        stencil = passes.stencils.get(
            key and (key, of_coalitions.start, of_coalitions.stop, of_background.start, of_background.stop),
            partial(torch.unsqueeze, present[of_coalitions], 1),
            {name: x[None, of_background] for name, x in passes.background.items()},
        )
        out = passes(stencil.fill({name: x[of_rows] for name, x in rows.items()})).reshape(
            -1, *stencil.shape, passes.width
        )
        wanted = out.take_along_dim(outputs[of_rows, None, None, :], -1).double().sum(2)
        value[of_rows, of_coalitions] += wanted / passes.rows
        pace.done += out.shape[:3].numel()
    return value


def coalitions(players: int) -> torch.Tensor:
    """(2^P, P) bool; line s holds the bits of s, so that the first is empty and the last is full."""
    return (torch.arange(1 << players)[:, None] >> torch.arange(players)) & 1 == 1


def shapley_weights(present: torch.Tensor) -> torch.Tensor:
    """(P, 2^P) float64, W with φ = W v: |S|!(P−|S|−1)!/P! for joining S, the same taken away for standing in S + p."""
    count = present.shape[1]
    joining = torch.tensor([1 / (count * comb(count - 1, size)) for size in range(count)] + [0.0], dtype=torch.float64)
    sizes = present.sum(1)
    return torch.where(present, joining[sizes - 1][:, None], -joining[sizes][:, None]).T.contiguous()


def boxes(rows: int, coalitions: int, background: int, limit: int) -> Iterator[tuple[slice, slice, slice]]:
    """Blocks of at most `limit` network rows, the background together where it fits."""
    if not coalitions:
        return
    whole = max(1, limit // background)
    for of_rows in ranges(rows, max(1, whole // coalitions)):
        for of_coalitions in ranges(coalitions, whole):
            for of_background in ranges(background, limit):
                yield of_rows, of_coalitions, of_background
