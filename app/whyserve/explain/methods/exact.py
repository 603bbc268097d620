"""Exact Shapley values by enumeration (Shapley 1953) of the interventional game (Lundberg & Lee 2017)."""

from typing import ClassVar

import torch

from whyserve.errors import TooManyPlayers
from whyserve.explain.game.base import Attribution, Inputs, Limits
from whyserve.explain.game.coalitions import coalition_values, coalitions, shapley_weights
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
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
        value = coalition_values(
            self.passes, self.coalitions, rows, outputs, Progress(limits, self.cost(row_count(rows)))
        )
        return Attribution(
            values=torch.einsum("ps,rsk->rkp", self.weights, value),
            base_values=value[:, 0],
            predictions=value[:, -1],
            rows_evaluated=self.cost(row_count(rows)) + row_count(rows),
        )

    def cost(self, rows: int) -> int:
        """Network rows for `rows` instances, the instances themselves aside."""
        return rows * max(0, len(self.coalitions) - 2) * self.passes.rows
