"""Owen values: Shapley values over a tree of players, which add up at every level (Owen 1977, Winter 1989)."""

from functools import partial
from math import ceil
from typing import ClassVar

import torch

from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.coalitions import background_means
from whyserve.explain.game.device import on_cpu
from whyserve.explain.game.evaluation import Passes, Progress, check_rows, ranges
from whyserve.explain.game.masking import PairMixer
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.methods.owen.expansion import Expansion
from whyserve.explain.methods.owen.levels import Levels
from whyserve.explain.methods.permutation.estimator import t_factor
from whyserve.explain.methods.permutation.permutation import (
    EPS,
    EXACT_SHARE,
    MAX_PER_PAIR,
    MIN_PER_PAIR,
    PERMUTATIONS_PER_ROW,
)
from whyserve.model.hierarchy import Tree

MOST_PLAYERS = 2048
# Groups are expanded if all coalitions × background rows are at most this many times the samples.
EXPANDED, MOST_COALITIONS = 16, 1 << 18
# About the most numbers of a block of background rows.
MOST_ELEMENTS = 1 << 24


class Owen:
    """Owen values of a tree; `limits.samples` is the number of orders per explained row and background row.

    S samples cost at most S·2(P − 1)·B network rows per explained row; there are at least two, or four with one
    background row. How they are used:
    - If they reach 0.6 of all coalitions that the tree needs, these are evaluated, and the values are exact.
    - If the background is small, the groups with the largest effects are expanded first (`expansion`), unless contexts
      matter little.
    - Otherwise each pair of an explained row and a background row is a game of its own, with random orders that respect
      the tree, and their reverses. The standard errors are those of the spread between the orders.
    The default is that of `permutation`, without its further rounds; limits.standard_error has no effect.

    Raises TooManyPlayers if there are more than 2048 players, and UnsupportedNetwork as Passes does.
    """

    method: ClassVar[str] = "owen"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        players.check_limit(self.method, MOST_PLAYERS)
        self.passes = Passes(network, background, players, memory_bytes)
        names = list(map(str, range(players.count)))
        make = players.tree or (lambda _: Tree.of(names, range(players.count)))
        self.tree = make({name: x.cpu().numpy() for name, x in background.items()})
        self.levels = on_cpu(lambda: Levels(self.tree))

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values and standard errors (R, K, P) of `outputs` (R, K) at `rows`, with the tree of each row.

        Raises InvalidInput and UnsupportedNetwork as Explainer does, and Stopped at any stop or deadline: a part of
        the coalitions gives no result.
        """
        passes, count, total = self.passes, self.passes.players.count, row_count(rows)
        rows = check_rows(rows, passes.background, passes.players, nan=passes.network.takes_nan)
        predictions, base_values = passes.table(rows).gather(1, outputs), passes.base_values[outputs]
        usual = min(max(MIN_PER_PAIR, ceil(PERMUTATIONS_PER_ROW / passes.rows)), MAX_PER_PAIR)
        most = MOST_ELEMENTS // (4 * len(self.levels.inside))
        orders = min(max(limits.samples or usual, 2 if passes.rows > 1 else 4), most)
        budget, exact = 2 * orders * (count - 1), self.levels.cost
        fits = exact <= MOST_COALITIONS
        budget = exact if fits and EXACT_SHARE * exact <= budget else budget
        progress = Progress(limits, total * passes.rows * min(budget, exact))
        fits = fits and exact * passes.rows <= EXPANDED * budget and 4 * self.levels.widest <= budget
        explain, found = (self._expanded if fits or budget == exact else self._sampled), []
        for at in range(total):
            row = {name: x[at : at + 1] for name, x in rows.items()}
            found.append(explain(row, outputs[at], predictions[at], budget, progress))
        values, errors = (torch.stack(part).transpose(1, 2) for part in zip(*found, strict=True))
        progress.total = progress.done
        progress.go_on()
        errors = errors.clamp(min=EPS * torch.maximum(predictions.abs(), base_values.abs()).cpu()[..., None])
        return Attribution(
            values=values[..., :count],
            base_values=base_values,
            predictions=predictions,
            standard_errors=errors[..., :count],
            rows_evaluated=progress.done + total,
            trees=[self.tree] * total,
            group_errors=errors[..., count:-1],
        )

    def _expanded(
        self, row: Inputs, outputs: torch.Tensor, predictions: torch.Tensor, budget: int, progress: Progress
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The values of all nodes and their standard errors, (nodes, K) each, on the CPU."""

        def value(present: torch.Tensor) -> torch.Tensor:
            with outputs.device:
                on_device = present.to(outputs.device)
                return background_means(self.passes, on_device, row, outputs[None], progress)[0].cpu()

        ends = torch.stack([self.passes.base_values[outputs], predictions]).cpu()
        expansion = on_cpu(lambda: Expansion(self.levels, value, ends, budget))
        return on_cpu(expansion.run) or self._sampled(row, outputs, predictions, expansion.budget, progress)

    def _sampled(
        self, row: Inputs, outputs: torch.Tensor, predictions: torch.Tensor, budget: int, progress: Progress
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The values of all nodes and their standard errors, (nodes, K) each, on the CPU."""
        passes, inside, count = self.passes, self.levels.inside.double(), self.passes.players.count
        orders = max(2, budget // (2 * (count - 1)))
        whole = ((predictions - passes.background_outputs[:, outputs]) / 2).cpu()
        mixer, sums = PairMixer(passes.players, row, passes.background), whole.new_zeros(count, len(outputs))
        squares = whole.new_zeros(len(inside), len(outputs))
        for block in ranges(passes.rows, max(1, MOST_ELEMENTS // (4 * orders * len(inside)))):
            background = torch.arange(block.start, block.stop).repeat_interleave(orders * (count - 1))
            generator = torch.Generator().manual_seed((progress.limits.seed * 1_000_003 + block.start) % (1 << 63))
            places = on_cpu(partial(self.levels.orders, block.stop - block.start, orders, generator))
            g = self._half_differences(mixer, places, background, outputs, progress).reshape(
                -1, count - 1, len(outputs)
            )
            ends = whole[block].repeat_interleave(orders, 0)[:, None]
            steps = torch.cat([-ends, g.reshape(-1, count - 1, len(outputs)), ends], 1).diff(dim=1)
            of_players = steps.take_along_dim(places[..., None], 1).reshape(-1, orders, count, len(outputs))
            sums = sums + of_players.mean(1).sum(0)
            squares = squares + torch.einsum("np,bopk->bonk", inside, of_players).var(1).sum(0)
        values, degrees = sums / passes.rows, passes.rows * (orders - 1)
        # Σφ is known. The rounding errors are removed evenly.
        values = values + (2 * whole.mean(0) - values.sum(0)) / count
        return inside @ values, (squares / orders).sqrt() / passes.rows * t_factor(degrees)

    def _half_differences(
        self,
        mixer: PairMixer,
        places: torch.Tensor,
        background: torch.Tensor,
        outputs: torch.Tensor,
        progress: Progress,
    ) -> torch.Tensor:
        """(v(S) − v(complement of S)) / 2 of the first 1 … P − 1 players S of each order, (n, K). Raises Stopped."""
        halves, cuts = [], places.shape[1] - 1
        for part in ranges(len(background), max(1, self.passes.chunk_rows // 2)):
            if not progress.go_on():
                raise Stopped
            number = on_cpu(lambda part=part: torch.arange(part.start, part.stop))  # type: ignore[misc]
            present = (places[number // cuts] <= (number % cuts)[:, None]).int().neg().to(outputs.device)
            out = self.passes(mixer.mix(present, background[part].to(outputs.device)))
            one, other = out.index_select(1, outputs).double().chunk(2)
            halves.append(((one - other) / 2).cpu())
            progress.done += len(out)
        return torch.cat(halves)
