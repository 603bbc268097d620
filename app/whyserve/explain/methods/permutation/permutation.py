"""Shapley values by paired walks: unbiased, adding up, with a standard error, on any network.

For each pair of an explained row and a background row, players move from the one to the other along a random order
and back along its reverse (Castro, Gómez & Tejada 2009; antithetic: Mitchell et al. 2022; paired coalitions: Covert
& Lee 2021). Past one walk a pair, the same number of network rows goes to coalitions that are spread out and weighed
together, which on trained networks comes as near as three to twenty times the walks (see kriging.py and orders.py).
"""

from collections.abc import Iterator
from math import ceil
from typing import ClassVar

import torch

from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.coalitions import coalition_values, coalitions, shapley_weights
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.permutation.designs import MOST_PAIRS_SPREAD, MOST_PLAYERS_SPREAD, make_design
from whyserve.explain.methods.permutation.estimator import At, Estimate
from whyserve.explain.methods.permutation.sampling import SampleRequest, Seed, sample

# The default: this many walks a row, shared among the background …
WALKS_A_ROW = 800
FEWEST, MOST = 2, 64
# … and up to three more rounds of it while the mean standard error is above this part of the mean |φ|.
NEAR_ENOUGH = 0.06
# Sampling this part of all coalitions costs so little less than all of them that all are taken.
WORTH_ALL = 0.6
# No more rounds than this towards a standard error.
MOST_ROUNDS = 12
# Rounding, in parts of an output.
EPS = torch.finfo(torch.float32).eps
# Groups of walks that a round is split into for its standard error: at least this many degrees of freedom.
FREEDOM = 24


class Permutation:
    """Sampled Shapley values; `limits.samples` is walks a pair of an explained and a background row.

    A walk costs 2(P − 1) network rows (its ends are known), so S samples cost S·2(P − 1)·B rows an instance; when that
    reaches 0.6 of all 2^P coalitions, all are taken, and the answer is exact with standard errors of rounding.
    By default 800 walks an instance (at least 2 and at most 64 a pair), then up to three more rounds, each double,
    while the mean standard error is above 0.06 of the mean |φ|. With limits.standard_error rounds go on until every
    standard error is at most that. One background row and one sample are taken as two samples.
    """

    method: ClassVar[str] = "permutation"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        self.passes = Passes(network, background, players, memory_bytes)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values and standard errors (R, K, P) of `outputs` (R, K) at `rows`; unbiased, Σφ = f(x) − mean f.

        Raises InvalidInput for rows of another shape, UnsupportedNetwork for an output that is not finite, and
        Stopped when a stop or a deadline comes before the first round is done for every row.
        """
        rows = check_rows(rows, self.passes.background, self.passes.players)
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
        """Fill `estimate` round by round. True when all samples are taken. A settled row gets no more rounds."""
        active: At = slice(0, len(request.outputs))
        for number, walks in enumerate(plan(self.passes.rows, self.passes.players.count, limits)):
            try:
                self._round(
                    estimate, active, request.only(active), walks, seed=(limits.seed, number), progress=progress
                )
            except Stopped:
                if number == 0:
                    raise
                return False
            errors = estimate.errors(floor)
            if limits.on_error is not None:
                limits.on_error(float(errors.mean() / estimate.mean().abs().mean().clamp_min(1e-300)))
            if limits.samples is None or limits.standard_error is not None:
                active = (~settled(estimate, errors, floor, limits)).nonzero()[:, 0]
                if not len(active):
                    break
        return True

    def _round(
        self, estimate: Estimate, at: At, request: SampleRequest, walks: int, *, seed: Seed, progress: Progress
    ) -> None:
        players, background = self.passes.players.count, self.passes.rows
        if takes_all(players, walks):
            everyone = coalitions(players)
            progress.total += len(request.outputs) * (len(everyone) - 2) * background
            value = coalition_values(self.passes, everyone, request.rows, request.outputs, progress)
            estimate.settle(at, torch.einsum("ps,rsk->rkp", shapley_weights(everyone), value))
            return
        design = make_design(players, walks, groups(walks, background))
        progress.total += len(request.outputs) * background * 2 * design.pairs
        values, variance = sample(self.passes, design, request, seed, progress)
        estimate.add(at, values, variance, design.precision, background * (design.groups - 1) or background - 1)


def plan(background: int, players: int, limits: Limits) -> Iterator[int]:
    """Walks a pair, round after round; where there is much to do the first is small, for a deadline to find it done."""
    most = MOST if players > MOST_PLAYERS_SPREAD else max(1, MOST_PAIRS_SPREAD // max(1, players - 1))
    first = min(max(FEWEST, ceil(WALKS_A_ROW / background)), MOST, most)
    if limits.samples is not None:
        left = max(limits.samples, 2 if background == 1 else 1)
        if left > 2 * first:
            yield first // 2 or 1
            left -= first // 2 or 1
        while left > 0:
            yield min(left, most)
            left -= most
        return
    for number in range(4 if limits.standard_error is None else MOST_ROUNDS):
        yield min(first << number, most)


def takes_all(players: int, walks: int) -> bool:
    """Whether all coalitions cost little more than these walks."""
    return players == 1 or (players <= 16 and 2 * walks * (players - 1) >= WORTH_ALL * ((1 << players) - 2))


def groups(walks: int, background: int) -> int:
    """Parts of a round, each with an estimate of its own, for FREEDOM degrees of freedom over the background."""
    return min(walks, max(2, ceil(FREEDOM / background) + 1))


def settled(estimate: Estimate, errors: torch.Tensor, floor: torch.Tensor, limits: Limits) -> torch.Tensor:
    """(R,) bool: rows whose standard errors are small enough. A row once settled stays so: it gets no more rounds."""
    if limits.standard_error is not None:
        return (errors <= torch.clamp(floor, min=limits.standard_error)).flatten(1).all(1)
    near = NEAR_ENOUGH * estimate.mean().abs().mean(-1)
    return (errors.mean(-1) <= torch.maximum(near, floor[..., 0])).all(1)
