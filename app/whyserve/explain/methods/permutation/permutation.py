"""Shapley values by guided sampling: they add up, and they have a standard error, for any network.

Each pair of an explained row and a background row is a game of its own (interventional SHAP: Lundberg & Lee 2017).
A guide says where the two rows differ (`guide`). Paired coalitions (Covert & Lee 2021) are drawn, more of them where
the guide says that there is more to know (`design`). Kriging finds what the guide leaves over, and the leave-one-out
residuals correct it and give its standard error (`kriging`). docs/sampling.md derives the formulas.
"""

from collections.abc import Iterable, Iterator
from copy import copy
from itertools import count
from math import ceil, sqrt
from typing import ClassVar

import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.coalitions import coalition_values, coalitions, shapley_weights
from whyserve.explain.game.evaluation import Passes, Progress, all_finite, check_rows
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.deep.forward import Values
from whyserve.explain.methods.permutation.estimator import Estimate
from whyserve.explain.methods.permutation.first_layer import FirstLayer, linear_steps
from whyserve.explain.methods.permutation.guide import changes
from whyserve.explain.methods.permutation.rounds import Rounds
from whyserve.explain.methods.permutation.sampling import SampleRequest, sample

# The default first round: this many permutations' worth of pairs per row, divided among the background rows …
PERMUTATIONS_PER_ROW = 400
# … with at least and at most this many per background row …
MIN_PER_PAIR, MAX_PER_PAIR = 2, 64
# … then up to three more rounds while the mean standard error is above this share of the mean |φ|.
ERROR_GOAL = 0.06
# If sampling costs this share of all coalitions, all are evaluated: the result is then exact.
EXACT_SHARE = 0.6
# The least samples by number of background rows: fewer have too few pairs for a standard error.
FEWEST_SAMPLES = {1: 4, 2: 2, 3: 2, 4: 2, 5: 2}
# The most pairs of one round per background row, on average: kriging is cubic in them. Slow rows have up to MOST_SLOW
# pairs, because one large round is more accurate than several small ones. Measured: with this share of the activations
# of a row in bytes as the square of the pairs, kriging takes less than a tenth of the time of the rows.
MOST_PAIRS, MOST_SLOW, SQUARE_SHARE = 256, 768, 0.1
# Without `deep`, this share of the pairs of the first round is for the guide.
FIRST_SHARE = 0.2
# The most bytes of one round, about.
ROUND_BYTES = 256 << 20
# The rounding error of an output, relative to its size.
EPS = torch.finfo(torch.float32).eps


class Permutation:
    """Sampled Shapley values; `limits.samples` is the number of permutations per explained row and background row.

    One sample costs as many network rows as a random permutation and its reverse: 2(P − 1) per background row. S
    samples cost S·2(P − 1)·B network rows per explained row. If this reaches 0.6 of all 2^P coalitions, all are
    evaluated: the result is exact, and its standard errors are those of rounding.

    The default is 400 samples per explained row, divided among the background rows (at least 2 and at most 64 each),
    then up to three more rounds, each of double size, while the mean standard error is above 0.06 of the mean |φ|.
    With limits.standard_error, rounds continue until every standard error is at most that. With fewer than six
    background rows, there are at least two samples; with one, four.

    Raises UnsupportedNetwork as Passes does.
    """

    method: ClassVar[str] = "permutation"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        self.passes = Passes(network, background, players, memory_bytes)
        self.deep = _deep(network, background, players, memory_bytes)
        self.first: FirstLayer | None = None
        if self.deep and (steps := linear_steps(self.deep.program)):
            self.first = FirstLayer(self.deep.program, steps, network, self.passes.background, players)
        self.rounds = Rounds(self.passes.rows, players.count)
        self.memory_bytes = memory_bytes

    def again(self, background: Inputs, players: Players) -> "Permutation":
        """The same network with another background and other players, without a new trace for the guide."""
        other = copy(self)
        other.passes = Passes(self.passes.network, background, players, self.memory_bytes)
        other.deep = self.deep and self.deep.again(background, players)
        other.first = self.first and self.first.again(other.passes.background, players)
        other.rounds = self.rounds.of(other.passes.rows, players.count)
        return other

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values and standard errors (R, K, P) of `outputs` (R, K) at `rows`; corrected, and Σφ = f(x) − mean f.

        Raises InvalidInput and UnsupportedNetwork as Explainer does, and Stopped if a stop or a deadline comes before
        the first round is complete for every row.
        """
        nan = self.passes.network.takes_nan
        rows = check_rows(rows, self.passes.background, self.passes.players, nan=nan)
        # The values of one row in `deep` have its prediction too.
        values = self.deep.forward.run(rows) if self.deep and len(outputs) == 1 else None
        table = self.passes.table(rows) if self.deep is None or values is None else self.deep.table(values, 1)
        predictions = table.gather(1, outputs)
        base_values = self.passes.base_values[outputs]
        floor = EPS * torch.maximum(predictions.abs(), base_values.abs()).unsqueeze(-1)
        estimate = Estimate.empty(len(outputs), outputs.shape[1], self.passes.players.count)
        progress = Progress(limits, 0)
        given = (rows, outputs, predictions)
        complete = self._rounds(estimate, given, values, floor=floor, limits=limits, progress=progress)
        progress.go_on()
        return Attribution(
            values=estimate.mean(),
            base_values=base_values,
            predictions=predictions,
            standard_errors=estimate.errors(floor),
            rows_evaluated=progress.done + row_count(rows),
            complete=complete,
        )

    def _rounds(
        self,
        estimate: Estimate,
        given: tuple[Inputs, torch.Tensor, torch.Tensor],
        values: Values | None,
        *,
        floor: torch.Tensor,
        limits: Limits,
        progress: Progress,
    ) -> bool:
        """Fill `estimate` round by round, and return whether all rounds are complete.

        A row that has converged gets no more rounds. given: the rows, their outputs and predictions, (R, K) each.
        values: of the only row in `deep`, if they are known. floor: (R, K, 1), the smallest standard error.
        """
        rows, outputs, predictions = given
        active, requests = torch.arange(len(outputs)), dict[int, SampleRequest]()
        for number, pairs in enumerate(self._plan(outputs.shape[1], limits)):
            try:
                if evaluates_all(self.passes.players.count, pairs):
                    self._all(estimate, active, rows, outputs, progress)
                    return True
                progress.total += len(active) * self.passes.rows * 2 * pairs
                for at in active.tolist():
                    if at not in requests:
                        row = {name: x[at : at + 1] for name, x in rows.items()}
                        requests[at] = self._request(row, outputs[at], predictions[at], values)
                    seed = (limits.seed * 1_000_003 + number) % (1 << 63)
                    found = sample(self.passes, self.rounds, requests[at], pairs, seed=seed, progress=progress)
                    estimate.add(at, found.parts, found.pairs)
                    requests[at] = found.request
            except Stopped:
                if number == 0:
                    raise
                return False
            if limits.on_error is not None:
                mean = estimate.mean().abs().mean().clamp_min(1e-300)
                limits.on_error(float(estimate.errors(floor).mean() / mean))
            if limits.samples is None or limits.standard_error is not None:
                active = (~converged(estimate, estimate.errors(floor), floor, limits)).nonzero()[:, 0]
                if not len(active):
                    break
        return True

    def _request(
        self, row: Inputs, outputs: torch.Tensor, predictions: torch.Tensor, values: Values | None
    ) -> SampleRequest:
        """One row, (1, *shape) per input, and its guide: the shares of `deep`, or 0 if they are not known."""
        if self.deep is not None:
            shares = self.deep.pair_shares(row, outputs[None], values).movedim(0, -1).contiguous()
            if all_finite(shares):
                return SampleRequest(row, outputs, predictions, shares, first=self.first)
        shares = torch.zeros(self.passes.rows, self.passes.players.count, len(outputs), dtype=torch.float64)
        change = changes(self.passes.players, row, self.passes.background)
        return SampleRequest(row, outputs, predictions, shares, change, self.first)

    def _all(
        self, estimate: Estimate, active: torch.Tensor, rows: Inputs, outputs: torch.Tensor, progress: Progress
    ) -> None:
        """Evaluate every coalition for the rows `active`."""
        everyone = coalitions(self.passes.players.count)
        progress.total += len(active) * (len(everyone) - 2) * self.passes.rows
        some = {name: x[active] for name, x in rows.items()}
        value = coalition_values(self.passes, everyone, some, outputs[active], progress)
        for row, exact in zip(
            active.tolist(), torch.einsum("ps,rsk->rkp", shapley_weights(everyone), value), strict=True
        ):
            estimate.set_exact(row, exact)

    def _plan(self, outputs: int, limits: Limits) -> Iterator[int]:
        players = self.passes.players.count
        pairs = min(MOST_SLOW, max(MOST_PAIRS, int(sqrt(SQUARE_SHARE * self.passes.row_bytes))))
        most = max(2, min(pairs, ROUND_BYTES // (32 * (players + outputs) * self.passes.rows)))
        plan = plan_rounds(self.passes.rows, players, limits, most=most)
        if self.deep is None:
            # The first values are for the guide of the others.
            first = next(plan)
            few = 0 if evaluates_all(players, first) else round(FIRST_SHARE * first)
            yield from (pairs for pairs in (few, first - few) if pairs)
        yield from plan


def _deep(network: Network, background: Inputs, players: Players, memory_bytes: int) -> Deep | None:
    """The method `deep` as a guide; None if an operation of the network has no rule."""
    try:
        return Deep(network, background, players, memory_bytes=memory_bytes)
    except UnsupportedNetwork:
        return None


def plan_rounds(background: int, players: int, limits: Limits, *, most: int) -> Iterator[int]:
    """Pairs per background row, round by round. most: the most pairs of a round.

    If there is much to do, the first round is small: a deadline then finds it complete.
    """
    step = max(1, players - 1)
    first = min(max(MIN_PER_PAIR, ceil(PERMUTATIONS_PER_ROW / background)), MAX_PER_PAIR) * step
    if limits.samples is None:
        sizes: Iterable[int] = (
            first << min(number, 20) for number in (range(4) if limits.standard_error is None else count())
        )
    else:
        total = max(limits.samples, FEWEST_SAMPLES.get(background, 1)) * step
        sizes = [first // 2, total - first // 2] if total > 2 * first else [total]
    for size in sizes:
        # Rounds of equal size: a small last one would have too few pairs.
        rounds = 1 if evaluates_all(players, size) else ceil(size / most)
        yield from (size * (number + 1) // rounds - size * number // rounds for number in range(rounds))


def evaluates_all(players: int, pairs: int) -> bool:
    """Whether all coalitions cost little more than so many pairs of coalitions."""
    return players == 1 or (players <= 16 and 2 * pairs >= EXACT_SHARE * ((1 << players) - 2))


def converged(estimate: Estimate, errors: torch.Tensor, floor: torch.Tensor, limits: Limits) -> torch.Tensor:
    """(R,) bool: the rows whose standard errors `errors`, (R, K, P), are small enough."""
    if limits.standard_error is not None:
        return (errors <= torch.clamp(floor, min=limits.standard_error)).flatten(1).all(1)
    goal = ERROR_GOAL * estimate.mean().abs().mean(-1)
    return (errors.mean(-1) <= torch.maximum(goal, floor[..., 0])).all(1)
