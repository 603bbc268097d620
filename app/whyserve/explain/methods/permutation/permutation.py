"""Shapley values by permutation sampling: unbiased, they add up, and they have a standard error, for any network.

For each pair of an explained row and a background row, the players change from the background's values to the row's
values in a random order, and in the reverse order (Castro, Gómez & Tejada 2009; antithetic permutations: Mitchell et
al. 2022; paired coalitions: Covert & Lee 2021). With more than one permutation per pair, the same number of network
rows is spent on different coalitions, weighted together by kriging. On trained networks this is as accurate as three
to twenty times as many permutations (see designs.py and kriging.py).
"""

from collections.abc import Iterator
from itertools import count
from math import ceil
from typing import ClassVar

import torch

from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.coalitions import coalition_values, coalitions, shapley_weights
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.permutation.designs import MOST_PAIRS_KRIGING, MOST_PLAYERS_KRIGING, make_design
from whyserve.explain.methods.permutation.estimator import Estimate, RowIndex
from whyserve.explain.methods.permutation.sampling import SampleRequest, Seed, sample

# The default first round: this many permutations per row, divided among the background rows …
PERMUTATIONS_PER_ROW = 800
# … with at least and at most this many per pair …
MIN_PER_PAIR, MAX_PER_PAIR = 2, 64
# … then up to three more rounds while the mean standard error is above this share of the mean |φ|.
ERROR_GOAL = 0.06
# If sampling costs this share of all coalitions, all are evaluated: the result is then exact.
EXACT_SHARE = 0.6
# The rounding error of an output, relative to its size.
EPS = torch.finfo(torch.float32).eps
# A round is divided into groups, so that its standard error has at least this many degrees of freedom.
MIN_DEGREES = 24


class Permutation:
    """Sampled Shapley values; `limits.samples` is the number of permutations per explained row and background row.

    One permutation costs 2(P − 1) network rows, with its reverse; the outputs at both ends are known. S samples cost
    S·2(P − 1)·B network rows per explained row. If this reaches 0.6 of all 2^P coalitions, all are evaluated: the
    result is exact, and its standard errors are those of rounding.

    The default is 800 permutations per explained row (at least 2 and at most 64 per pair), then up to three more
    rounds, each of double size, while the mean standard error is above 0.06 of the mean |φ|. With
    limits.standard_error, rounds continue until every standard error is at most that. With one background row, one
    sample is raised to two, because a single one has no standard error.

    Raises UnsupportedNetwork as Passes does.
    """

    method: ClassVar[str] = "permutation"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        self.passes = Passes(network, background, players, memory_bytes)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values and standard errors (R, K, P) of `outputs` (R, K) at `rows`; unbiased, Σφ = f(x) − mean f.

        Raises InvalidInput and UnsupportedNetwork as Explainer does, and Stopped if a stop or a deadline comes before
        the first round is complete for every row.
        """
        nan = self.passes.network.takes_nan
        rows = check_rows(rows, self.passes.background, self.passes.players, nan=nan)
        request = SampleRequest(rows, outputs, self.passes.table(rows).gather(1, outputs))
        base_values = self.passes.base_values[outputs]
        floor = EPS * torch.maximum(request.predictions.abs(), base_values.abs()).unsqueeze(-1)
        estimate, progress = Estimate.empty(outputs, self.passes.players.count), Progress(limits, 0)
        complete = self._rounds(estimate, request, floor, limits, progress)
        progress.go_on()
        return Attribution(
            values=estimate.mean(),
            base_values=base_values,
            predictions=request.predictions,
            standard_errors=estimate.errors(floor),
            rows_evaluated=progress.done + row_count(rows),
            complete=complete,
        )

    def _rounds(
        self, estimate: Estimate, request: SampleRequest, floor: torch.Tensor, limits: Limits, progress: Progress
    ) -> bool:
        """Fill `estimate` round by round, and return whether all rounds are complete.

        A row that has converged gets no more rounds. floor: (R, K, 1), the smallest standard error.
        """
        active: RowIndex = slice(0, len(request.outputs))
        for number, permutations in enumerate(plan_rounds(self.passes.rows, self.passes.players.count, limits)):
            try:
                seed = (limits.seed, number)
                self._round(estimate, active, request.subset(active), permutations, seed=seed, progress=progress)
            except Stopped:
                if number == 0:
                    raise
                return False
            errors = estimate.errors(floor)
            if limits.on_error is not None:
                limits.on_error(float(errors.mean() / estimate.mean().abs().mean().clamp_min(1e-300)))
            if limits.samples is None or limits.standard_error is not None:
                active = (~converged(estimate, errors, floor, limits)).nonzero()[:, 0]
                if not len(active):
                    break
        return True

    def _round(
        self,
        estimate: Estimate,
        rows: RowIndex,
        request: SampleRequest,
        permutations: int,
        *,
        seed: Seed,
        progress: Progress,
    ) -> None:
        """Add one round for the rows `rows` of `estimate`, which are the rows of `request`."""
        players, background = self.passes.players.count, self.passes.rows
        if evaluates_all(players, permutations):
            everyone = coalitions(players)
            progress.total += len(request.outputs) * (len(everyone) - 2) * background
            value = coalition_values(self.passes, everyone, request.rows, request.outputs, progress)
            estimate.set_exact(rows, torch.einsum("ps,rsk->rkp", shapley_weights(everyone), value))
            return
        design = make_design(players, permutations, group_count(permutations, background))
        progress.total += len(request.outputs) * background * 2 * design.pairs
        values, variance = sample(self.passes, design, request, seed, progress)
        degrees = background * (design.groups - 1) or background - 1
        estimate.add(rows, values, variance, design.precision, degrees)


def plan_rounds(background: int, players: int, limits: Limits) -> Iterator[int]:
    """Permutations per pair, round by round.

    If there is much to do, the first round is small: a deadline then finds it complete.
    """
    largest = MAX_PER_PAIR if players > MOST_PLAYERS_KRIGING else max(1, MOST_PAIRS_KRIGING // max(1, players - 1))
    first = min(max(MIN_PER_PAIR, ceil(PERMUTATIONS_PER_ROW / background)), MAX_PER_PAIR, largest)
    if limits.samples is not None:
        remaining = max(limits.samples, 2 if background == 1 else 1)
        if remaining > 2 * first:
            yield first // 2 or 1
            remaining -= first // 2 or 1
        while remaining > 0:
            yield min(remaining, largest)
            remaining -= largest
        return
    for number in range(4) if limits.standard_error is None else count():
        yield min(first << min(number, 20), largest)


def evaluates_all(players: int, permutations: int) -> bool:
    """Whether all coalitions cost little more than these permutations."""
    return players == 1 or (players <= 16 and 2 * permutations * (players - 1) >= EXACT_SHARE * ((1 << players) - 2))


def group_count(permutations: int, background: int) -> int:
    """How many groups a round needs for MIN_DEGREES degrees of freedom over the whole background."""
    return min(permutations, max(2, ceil(MIN_DEGREES / background) + 1))


def converged(estimate: Estimate, errors: torch.Tensor, floor: torch.Tensor, limits: Limits) -> torch.Tensor:
    """(R,) bool: the rows whose standard errors `errors`, (R, K, P), are small enough."""
    if limits.standard_error is not None:
        return (errors <= torch.clamp(floor, min=limits.standard_error)).flatten(1).all(1)
    goal = ERROR_GOAL * estimate.mean().abs().mean(-1)
    return (errors.mean(-1) <= torch.maximum(goal, floor[..., 0])).all(1)
