"""Expected gradients by quadrature (Erion et al. 2021): integrated gradients averaged over the whole background.

For an explained row x and a background row b, integrated gradients (Sundararajan et al. 2017) are

    φ = (x − b) ∫₀¹ ∂f/∂x (b + a (x − b)) da,

the Aumann–Shapley value on the straight line from b to x. It equals the Shapley value if all effects involve one or
two players, and it is close if the network is smooth. Erion et al. draw a at random; here Gauss–Legendre quadrature
integrates over a. There is no standard error then: the residual shows the error of the quadrature.
"""

from contextlib import nullcontext
from functools import lru_cache
from math import ceil
from typing import ClassVar

import numpy as np
import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.coalitions import chunks
from whyserve.explain.game.evaluation import Passes, Progress, check_rows
from whyserve.explain.game.network import Network, check_gradients, not_finite, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.integer_inputs import Lookup, Lookups, look_up

# Quadrature points per pair: the first number for every row, the second for a row whose residual is then above
# RESIDUAL_GOAL of the scale of its outputs.
POINTS = (16, 64)
RESIDUAL_GOAL = 1e-3
# The positions of n points cost n³ operations and n² numbers.
MOST_POINTS = 256
# As a share of the output's scale: a smaller change is rounding.
REACHED = 1e-5
# Memory of a pass with gradients relative to a pass without: it keeps the activations, and the backward pass needs as
# much again.
BACKWARD_MEMORY = 3

Points = tuple[torch.Tensor, torch.Tensor]
"""Positions a in (0, 1) and their weights, each (points,) float64."""

ExplainedRow = tuple[Inputs, list[Lookup]]
"""One row, (1, *shape) per input, and the lookup results of its integer inputs."""


class Gradient:
    """Expected gradients; `limits.samples` is the number of quadrature points per explained row and background row.

    Costs points·B network rows forward per explained row, and as many backward per output. The default is 16 points,
    then 64 for a row whose residual is above 0.001 of the scale of its outputs. The gradient of an integer input
    starts at the embedding, one-hot encoding or cast that first converts it to floating point. The number and the
    grouping of players are free.
    Raises UnsupportedNetwork as Passes does, if no gradient reaches the inputs, and if an integer input cannot be
    followed (see integer_inputs).
    """

    method: ClassVar[str] = "gradient"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        check_gradients(network)
        self.passes = Passes(network, background, players, memory_bytes // BACKWARD_MEMORY)
        self.background_lookups = look_up(network, self.passes.background, players)
        # One row explained against itself shows that gradients arrive, before the first request.
        first = {name: x[:1] for name, x in self.passes.background.items()}
        self._integrate(self._prepare(first), slice(0, 1), torch.zeros(1, 1, dtype=torch.int64), quadrature(1))
        self._check_reached()

    def _check_reached(self) -> None:
        """Raises UnsupportedNetwork if the output changes with floating-point elements that no gradient reaches.

        Only elements that are whole numbers in the background can be ids; others may lie in a flat part of the network.
        """
        rows = {name: x[: self.passes.chunk_rows] for name, x in self.passes.background.items()}
        leaves = {name: x.detach().clone().requires_grad_() for name, x in rows.items() if x.is_floating_point()}
        with torch.enable_grad():
            out = self.passes.network({**rows, **{name: leaf.clone() for name, leaf in leaves.items()}})
            # Different weights, because probabilities add up to a constant.
            total = (out * torch.linspace(1, 2, out.shape[1], dtype=out.dtype)).sum()
        if not total.requires_grad:
            total = total + sum(leaf.sum() * 0 for leaf in leaves.values())
        for name, leaf in leaves.items():
            (found,) = torch.autograd.grad(total, leaf, retain_graph=True, allow_unused=True, materialize_grads=True)
            still = (found == 0).all(0) & (leaf == leaf.round()).all(0)
            moved = self.passes({**rows, name: torch.where(still, rows[name].roll(1, 0), rows[name])}) - out.detach()
            if moved.abs().max() > REACHED * out.detach().abs().max():
                raise UnsupportedNetwork(
                    f'no gradient reaches ids in input "{name}", because the network casts them to integers or compares'
                    " them"
                )

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`. The residuals show how well they add up.

        Raises InvalidInput and UnsupportedNetwork as Explainer does, and Stopped if a stop or a deadline comes before
        the first number of points is complete.
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
            active = (residuals > RESIDUAL_GOAL * scale).any(1).nonzero()[:, 0]
            if not len(active):
                break
        progress.go_on()
        return Attribution(values, base_values, predictions, None, progress.done + row_count(rows), complete)

    def _values(self, rows: Inputs, outputs: torch.Tensor, points: int, progress: Progress) -> torch.Tensor:
        """(R, K, P) float64, row by row. A chunk holds as many background rows and points as the memory allows."""
        values = []
        for number in range(len(outputs)):
            row = self._prepare({name: x[number : number + 1] for name, x in rows.items()})
            total = torch.zeros(outputs.shape[1], self.passes.players.count, dtype=torch.float64)
            for background_slice, point_slice, _ in chunks(self.passes.rows, points, 1, self.passes.chunk_rows):
                if not progress.go_on():
                    raise Stopped
                positions, weights = quadrature(points)
                some_points = positions[point_slice], weights[point_slice]
                total += self._in_halves(row, background_slice, outputs[number : number + 1], some_points)
                progress.done += (background_slice.stop - background_slice.start) * len(some_points[0])
            values.append(total / self.passes.rows)
        return torch.stack(values)

    def _in_halves(
        self, row: ExplainedRow, background_slice: slice, outputs: torch.Tensor, points: Points
    ) -> torch.Tensor:
        """As _integrate. If the memory is not enough, it runs fewer points at once, and then fewer background rows."""

        def over_points(some_rows: slice) -> torch.Tensor:
            def integrate(some: slice) -> torch.Tensor:
                return self._integrate(row, some_rows, outputs, (points[0][some], points[1][some]))

            rows_each = some_rows.stop - some_rows.start
            return self.passes.in_halves(slice(0, len(points[0])), integrate, torch.add, rows_each=rows_each)

        return self.passes.in_halves(background_slice, over_points, torch.add, rows_each=len(points[0]))

    def _prepare(self, row: Inputs) -> ExplainedRow:
        return row, look_up(self.passes.network, row, self.passes.players)

    def _integrate(
        self, row: ExplainedRow, background_slice: slice, outputs: torch.Tensor, points: Points
    ) -> torch.Tensor:
        """(K, P) float64: the integral's sum over some background rows and some of its points, for one row."""
        lines, integers = self._lines(row, background_slice, points[0])
        leaves = {name: line.points() for name, line in lines.items()}
        # The network receives clones: it may begin with an in-place operation, which a leaf does not allow.
        inputs = {name: leaf.clone() for name, leaf in leaves.items()}
        looked_up = [inputs.pop(f"lookup {number}") for number in range(len(row[1]))]
        players = self.passes.players
        with torch.enable_grad():
            # Lookups intercepts every function, which costs as much as a small network: only for integer inputs.
            numbers = list(inputs.values())
            inputs.update(integers)
            with Lookups(integers, players.membership, numbers, looked_up) if integers else nullcontext():
                out = self.passes.network(inputs)
            # The rows are independent: the gradient of the sum is the gradient of each row.
            sums = out[:, outputs[0]].sum(0)
            if not torch.isfinite(sums).all():
                raise not_finite("a point between a background row and an explained row")
        values = []
        for k in range(outputs.shape[1]):
            gradients = _gradients(sums[k], list(leaves.values()), last=k == outputs.shape[1] - 1)
            pairs = zip(lines.values(), gradients, strict=True)
            values.append(sum(line.integrate(gradient, points[1], players.count) for line, gradient in pairs))
        return torch.stack(values)  # type: ignore[arg-type]

    def _lines(
        self, row: ExplainedRow, background_slice: slice, positions: torch.Tensor
    ) -> tuple[dict[str, "_Line"], dict[str, torch.Tensor]]:
        """A line per floating-point input and per lookup, and the integer inputs repeated for all points."""
        (inputs, lookups), lines, integers = row, {}, {}
        for name, x in inputs.items():
            start = self.passes.background[name][background_slice]
            if x.is_floating_point():
                players = self.passes.players.membership[name].expand(start.shape)
                lines[name] = _Line(start, x, players, positions)
            else:
                integers[name] = x.expand(start.shape[0] * len(positions), *x.shape[1:]).contiguous()
        for number, (end, begin) in enumerate(zip(lookups, self.background_lookups, strict=True)):
            start, players = begin.values[background_slice], begin.players[background_slice]
            lines[f"lookup {number}"] = _Line(start, end.values, players, positions)
        return lines, integers


class _Line:
    """The straight lines from b background rows to one explained row, for one input.

    start: (b, *shape). end: (1, *shape). players: (b, *shape), the player of each element. positions: (points,).
    """

    def __init__(self, start: torch.Tensor, end: torch.Tensor, players: torch.Tensor, positions: torch.Tensor) -> None:
        self.start, self.change, self.players = start, end - start, players
        self.positions = positions.to(start)

    def points(self) -> torch.Tensor:
        """b + a (x − b) at every position a, (points · b, *shape): a leaf that requires gradients."""
        a = self.positions.reshape(-1, *[1] * self.start.ndim)
        return (self.start + a * self.change).flatten(0, 1).detach().requires_grad_()

    def integrate(self, gradient: torch.Tensor | None, weights: torch.Tensor, count: int) -> torch.Tensor:
        """(P,) float64: Σ over b of (x − b) ∫ gradient da, from gradients (points · b, *shape); None is zero."""
        total = torch.zeros(count, dtype=torch.float64)
        if gradient is None:
            return total
        mean = torch.einsum("a,ae->e", weights.to(gradient.device), gradient.reshape(len(weights), -1).double())
        return total.index_add_(0, self.players.reshape(-1), mean * self.change.reshape(-1).double())


def _gradients(output: torch.Tensor, leaves: list[torch.Tensor], last: bool) -> tuple[torch.Tensor | None, ...]:
    if not output.requires_grad:
        raise UnsupportedNetwork("no gradient flows from the network's output to its inputs")
    return torch.autograd.grad(output, leaves, retain_graph=not last, allow_unused=True)


@lru_cache(maxsize=16)
def quadrature(points: int) -> Points:
    """Gauss–Legendre positions and weights for (0, 1), in equal parts with at most MOST_POINTS points each."""
    parts = ceil(points / MOST_POINTS)
    sizes = [points // parts + (number < points % parts) for number in range(parts)]
    rules = {size: np.polynomial.legendre.leggauss(size) for size in set(sizes)}
    positions = np.concatenate([(number + (rules[size][0] + 1) / 2) / parts for number, size in enumerate(sizes)])
    weights = np.concatenate([rules[size][1] / 2 / parts for size in sizes])
    return torch.from_numpy(positions), torch.from_numpy(weights)
