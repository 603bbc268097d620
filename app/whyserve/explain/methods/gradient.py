"""Expected gradients by quadrature (Erion et al. 2021): integrated gradients averaged over the whole background.

Along the straight line from each background row to the row explained, φ = E_b ∫ (x − b) ∂f/∂x da (Sundararajan et
al. 2017), an Aumann–Shapley value. It equals the Shapley value where effects are of one or two players, and is near
it where the network is smooth. The integral is taken by Gauss–Legendre points and not by chance: what it leaves is
the residual, and there is no standard error.
"""

from contextlib import nullcontext
from functools import lru_cache
from typing import ClassVar

import numpy as np
import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.coalitions import chunks
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.integer_inputs import Lookup, Lookups, look_up

# Points a line: the first number, and the second for rows whose residual is then above NEAR_ENOUGH of the scale.
POINTS = (16, 64)
NEAR_ENOUGH = 1e-3
# A pass with gradients keeps what a pass without lets go, and as much again on the way back.
BACKWARD = 3

Points = tuple[torch.Tensor, torch.Tensor]
"""Places in (0, 1) and their weights."""

Start = tuple[Inputs, list[Lookup]]
"""One row, and what its whole numbers become."""


class Gradient:
    """Expected gradients; `limits.samples` is quadrature points a pair of an explained and a background row.

    Costs points·B network rows, there and back, an instance, and a way back for every further output. By default 16
    points, then 64 for a row whose residual is above 0.001 of its outputs' scale. A whole-number input counts from
    the embedding, one-hot columns or cast that first make real numbers of it. Any number of players, any grouping.
    Raises UnsupportedNetwork as Passes does, where no gradient arrives, and where whole numbers cannot be followed.
    """

    method: ClassVar[str] = "gradient"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        self.passes = Passes(network, background, players, memory_bytes // BACKWARD)
        self.of_background = look_up(network, self.passes.background, players)
        # One row against itself: shows before any request that gradients arrive.
        first = {name: x[:1] for name, x in self.passes.background.items()}
        self._gain(self._starts(first), slice(0, 1), torch.zeros(1, 1, dtype=torch.int64), quadrature(1))

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`; they add up as far as the residuals say.

        Raises InvalidInput for rows of another shape, UnsupportedNetwork for an output that is not finite, and
        Stopped when a stop or a deadline comes before the first points are done.
        """
        rows = check_rows(rows, self.passes.background, self.passes.players)
        predictions, base_values = self.passes.table(rows).gather(1, outputs), self.passes.base_values[outputs]
        values = torch.zeros(*outputs.shape, self.passes.players.count, dtype=torch.float64)
        scale = torch.maximum(predictions.abs(), base_values.abs()).amax(1, keepdim=True)
        active, complete, progress = torch.arange(len(outputs)), True, Progress(limits, 0)
        for points in POINTS if limits.samples is None else (limits.samples,):
            progress.total += len(active) * self.passes.rows * points
            try:
                values[active] = self._values(
                    {name: x[active] for name, x in rows.items()}, outputs[active], points, progress
                )
            except Stopped:
                if points == POINTS[0] or limits.samples is not None:
                    raise
                complete = False
                break
            residuals = (predictions - base_values - values.sum(-1)).abs()
            active = (residuals > NEAR_ENOUGH * scale).any(1).nonzero()[:, 0]
            if not len(active):
                break
        progress.go_on()
        return Attribution(values, base_values, predictions, None, progress.done + row_count(rows), complete)

    def _values(self, rows: Inputs, outputs: torch.Tensor, points: int, progress: Progress) -> torch.Tensor:
        """(R, K, P) float64, row after row; the background and points together as far as memory goes."""
        done = []
        for at in range(len(outputs)):
            starts = self._starts({name: x[at : at + 1] for name, x in rows.items()})
            total = torch.zeros(outputs.shape[1], self.passes.players.count, dtype=torch.float64)
            for of_background, of_points, _ in chunks(self.passes.rows, points, 1, self.passes.chunk_rows):
                if not progress.go_on():
                    raise Stopped
                places, weights = quadrature(points)
                part = places[of_points], weights[of_points]
                total += self._gain(starts, of_background, outputs[at : at + 1], part)
                progress.done += (of_background.stop - of_background.start) * len(part[0])
            done.append(total / self.passes.rows)
        return torch.stack(done)

    def _starts(self, row: Inputs) -> Start:
        return row, look_up(self.passes.network, row, self.passes.players)

    def _gain(self, row: Start, part: slice, outputs: torch.Tensor, points: Points) -> torch.Tensor:
        """(K, P) float64: Σ over background rows of the integral, at some of its points, for one row."""
        (inputs, found), (at, weight), players = row, points, self.passes.players
        lines, whole = {}, {}
        for name, x in inputs.items():
            start = self.passes.background[name][part]
            if x.is_floating_point():
                lines[name] = _Line(start, x, players.membership[name].expand(start.shape), at)
            else:
                whole[name] = x.expand(start.shape[0] * len(at), *x.shape[1:]).contiguous()
        for number, (mine, theirs) in enumerate(zip(found, self.of_background, strict=True)):
            lines[f"lookup {number}"] = _Line(theirs.values[part], mine.values, theirs.players[part], at)
        leaves = {name: line.points() for name, line in lines.items()}
        # Not the leaves themselves: a network may begin with an operation in place.
        given = {name: leaf.clone() for name, leaf in leaves.items()}
        looked_up = [given.pop(f"lookup {number}") for number in range(len(found))]
        given.update(whole)
        with torch.enable_grad():
            # Watching every function costs as much as a small network: only where there is something to put in.
            with Lookups(whole, players.membership, looked_up) if whole else nullcontext():
                out = self.passes.network(given)
            wanted = out[:, outputs[0]].sum(0)
            if not torch.isfinite(wanted).all():
                raise UnsupportedNetwork("the network gives an output that is not finite between two valid rows")
        gains = []
        for k in range(outputs.shape[1]):
            slopes = _slopes(wanted[k], list(leaves.values()), last=k == outputs.shape[1] - 1)
            gains.append(
                sum(line.gain(s, weight, players.count) for line, s in zip(lines.values(), slopes, strict=True))
            )
        return torch.stack(gains)  # type: ignore[arg-type]


class _Line:
    """From each of b background rows to one row. start: (b, *shape), end: (1, *shape), players: (b, *shape)."""

    def __init__(self, start: torch.Tensor, end: torch.Tensor, players: torch.Tensor, at: torch.Tensor) -> None:
        self.start, self.change, self.players, self.at = start, end - start, players, at.to(start.dtype)

    def points(self) -> torch.Tensor:
        """(points · b, *shape), a leaf."""
        at = self.at.reshape(-1, *[1] * self.start.ndim)
        return (self.start + at * self.change).flatten(0, 1).detach().requires_grad_()

    def gain(self, slope: torch.Tensor | None, weight: torch.Tensor, count: int) -> torch.Tensor:
        """(P,) float64 of slopes (points · b, *shape)."""
        total = torch.zeros(count, dtype=torch.float64)
        if slope is None:
            return total
        mean = torch.einsum("a,ae->e", weight, slope.reshape(len(weight), -1).double())
        return total.index_add_(0, self.players.reshape(-1), mean * self.change.reshape(-1).double())


def _slopes(wanted: torch.Tensor, leaves: list[torch.Tensor], last: bool) -> tuple[torch.Tensor | None, ...]:
    if not wanted.requires_grad:
        raise UnsupportedNetwork("no gradient leads from the network's output to its inputs")
    return torch.autograd.grad(wanted, leaves, retain_graph=not last, allow_unused=True)


@lru_cache(maxsize=16)
def quadrature(points: int) -> Points:
    """Gauss–Legendre places in (0, 1) and their weights, float64."""
    at, weight = np.polynomial.legendre.leggauss(points)
    return torch.from_numpy((at + 1) / 2), torch.from_numpy(weight / 2)
