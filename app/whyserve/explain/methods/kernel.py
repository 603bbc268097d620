"""KernelSHAP (Lundberg & Lee 2017) as the shap package has it, for comparison."""

from threading import Lock
from typing import ClassVar

import numpy as np
import torch

from whyserve.errors import TooManyPlayers
from whyserve.explain.game.base import Attribution, Inputs, Limits
from whyserve.explain.game.coalitions import background_means
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players

# It solves a regression with a line a coalition and a column a player, some two thousand lines more than columns.
MOST_PLAYERS = 512
# shap draws from numpy's one global generator, so two calls at once would change each other's coalitions.
_ALONE = Lock()


class Kernel:
    """Shapley values by a regression of the worth of sampled coalitions, with shap.KernelExplainer.

    shap sees the game alone: players present or not, each coalition worth the network's mean over the background.
    `limits.samples` is coalitions a row, by default shap's 2P + 2048; each costs B network rows. Features are not
    selected by a lasso, which would leave players out. Sums by construction, and says nothing of its error.
    Raises TooManyPlayers beyond 512, UnsupportedNetwork as Passes does.
    """

    method: ClassVar[str] = "kernel"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        if players.count > MOST_PLAYERS:
            raise TooManyPlayers(
                f"kernel solves a regression on all players and takes at most {MOST_PLAYERS}; here are {players.count}:"
                " group them, or choose another method",
                players=players.count,
                limit=MOST_PLAYERS,
            )
        self.passes = Passes(network, background, players, memory_bytes)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`, one row after the other; never in two threads at once.

        Raises InvalidInput for rows of another shape, UnsupportedNetwork for an output that is not finite, and
        Stopped at a stop or a deadline: a regression on part of its lines answers nothing.
        """
        rows = check_rows(rows, self.passes.background, self.passes.players)
        predictions = self.passes.table(rows).gather(1, outputs)
        samples = limits.samples or 2 * self.passes.players.count + 2048
        progress = Progress(limits, row_count(rows) * samples * self.passes.rows)
        values = [
            self._row({name: x[at : at + 1] for name, x in rows.items()}, outputs[at : at + 1], samples, progress)
            for at in range(row_count(rows))
        ]
        progress.go_on()
        return Attribution(
            values=torch.stack(values),
            base_values=self.passes.base_values[outputs],
            predictions=predictions,
            rows_evaluated=progress.done + row_count(rows),
        )

    def _row(self, row: Inputs, outputs: torch.Tensor, samples: int, progress: Progress) -> torch.Tensor:
        """(K, P) of one row."""
        import shap  # noqa: PLC0415 (takes seconds, which a worker that never needs it should not wait)

        count = self.passes.players.count

        def game(present: np.ndarray) -> np.ndarray:
            """(n, P) of 0 and 1 → (n, K)."""
            coalitions = torch.from_numpy(np.asarray(present)) > 0
            return background_means(self.passes, coalitions, row, outputs, progress)[0].numpy()

        with _ALONE:
            before = np.random.get_state()
            try:
                np.random.seed(progress.limits.seed % (1 << 32))
                explainer = shap.KernelExplainer(game, np.zeros((1, count)))
                values = explainer.shap_values(np.ones((1, count)), nsamples=samples, l1_reg=0, silent=True)
            finally:
                np.random.set_state(before)
        return torch.from_numpy(np.asarray(values, dtype=np.float64))[0].T
