"""KernelSHAP (Lundberg & Lee 2017) with the shap package, for comparison."""

from threading import RLock
from typing import ClassVar

import numpy as np
import torch

from whyserve.explain.game.base import Attribution, Inputs, Limits
from whyserve.explain.game.coalitions import background_means
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.imports import importing

# shap solves a regression with one column per player and one line per coalition, 2048 more lines than columns.
MOST_PLAYERS = 512
# shap uses numpy's global random generator: two simultaneous calls would change each other's coalitions. Between its
# chunks, a call may run another one in its own thread, which restores the generator's state.
_RANDOM_LOCK = RLock()


class Kernel:
    """Shapley values by a regression on the values of sampled coalitions, with shap.KernelExplainer.

    shap receives the game only: a coalition of players has the network's mean over the background as its value.
    `limits.samples` is the number of coalitions per row, by default shap's 2P + 2048; each costs B network rows. The
    lasso of shap, which drops players, is off. The values add up by construction. There is no standard error.
    Raises TooManyPlayers if there are more than 512 players, and UnsupportedNetwork as Passes does.
    """

    method: ClassVar[str] = "kernel"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        players.check_limit(self.method, MOST_PLAYERS)
        self.passes = Passes(network, background, players, memory_bytes)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`, row by row. Simultaneous calls wait for each other.

        Raises InvalidInput and UnsupportedNetwork as Explainer does, and Stopped at any stop or deadline: a
        regression on a part of the coalitions gives no result.
        """
        nan = self.passes.network.takes_nan
        rows = check_rows(rows, self.passes.background, self.passes.players, nan=nan)
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
        """The attributions of one row, (K, P) float64."""
        with importing():
            import shap  # noqa: PLC0415 (the import takes seconds, and most workers never need it)

        count = self.passes.players.count

        def game(present: np.ndarray) -> np.ndarray:
            """The values of n coalitions, (n, P) of 0 and 1 → (n, K)."""
            coalitions = torch.from_numpy(np.asarray(present)).to(outputs.device) > 0
            return background_means(self.passes, coalitions, row, outputs, progress)[0].cpu().numpy()

        with _RANDOM_LOCK:
            state = np.random.get_state()
            try:
                np.random.seed(progress.limits.seed % (1 << 32))
                explainer = shap.KernelExplainer(game, np.zeros((1, count)))
                values = explainer.shap_values(np.ones((1, count)), nsamples=samples, l1_reg=0, silent=True)
            finally:
                np.random.set_state(state)
        return torch.from_numpy(np.asarray(values, dtype=np.float64))[0].T.to(outputs.device)
