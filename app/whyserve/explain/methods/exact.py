"""Exact Shapley values by enumeration (Shapley 1953) of the interventional game (Lundberg & Lee 2017)."""

from typing import ClassVar

import torch

from whyserve.explain.game.base import Attribution, Inputs, Limits
from whyserve.explain.game.coalitions import coalition_values, coalitions, interaction_values, shapley_weights
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players

MOST_PLAYERS = 16  # 65,536 coalitions


class Exact:
    """φ = W v over all 2^P coalitions.

    v(S) is the mean of f over B mixed rows: players in S come from the explained row, the others from the background.
    W are the weights of coalitions.shapley_weights.

    Costs (2^P − 2)·B + 1 network rows per explained row. The network runs in its own dtype; values are float64.
    Raises TooManyPlayers if there are more than 16 players, and UnsupportedNetwork as Passes does.
    """

    method: ClassVar[str] = "exact"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        players.check_limit(self.method, MOST_PLAYERS)
        self.passes = Passes(network, background, players, memory_bytes)
        self.coalitions = coalitions(players.count)
        self.weights = shapley_weights(self.coalitions)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`, and their interactions if `limits` asks for them.

        Raises InvalidInput and UnsupportedNetwork as Explainer does, and Stopped at any stop or deadline: a part of
        the coalitions gives no result.
        """
        nan = self.passes.network.takes_nan
        rows = check_rows(rows, self.passes.background, self.passes.players, nan=nan)
        value = coalition_values(
            self.passes, self.coalitions, rows, outputs, Progress(limits, self.cost(row_count(rows)))
        )
        values = torch.einsum("ps,rsk->rkp", self.weights, value)
        return Attribution(
            values=values,
            base_values=value[:, 0],
            predictions=value[:, -1],
            rows_evaluated=self.cost(row_count(rows)) + row_count(rows),
            interactions=interaction_values(self.coalitions, value, values) if limits.interactions else None,
        )

    def cost(self, rows: int) -> int:
        """The number of mixed rows for `rows` explained rows."""
        return rows * max(0, len(self.coalitions) - 2) * self.passes.rows
