"""DeepLIFT on operations: a multiplier for each operation of the traced network, from its output back to its inputs.

DeepLIFT (Shrikumar et al. 2017) against every background row, averaged (DeepSHAP: Lundberg & Lee 2017; Chen, Lundberg
& Lee 2021). The rules are by operation and not by module, so attributions add up however the network is written.
"""

from copy import copy
from functools import partial
from typing import ClassVar

import torch

from whyserve.errors import UnsupportedNetwork, first_line
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.device import Halving, rows_in
from whyserve.explain.game.evaluation import Progress, all_finite, check_background, check_rows, ranges
from whyserve.explain.game.network import Network, as_table, check_apart, check_gradients, not_finite, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.graph.export import trace
from whyserve.explain.methods.deep.backward import Backward
from whyserve.explain.methods.deep.binding import bound_rules
from whyserve.explain.methods.deep.forward import BackgroundValues, Forward, Values
from whyserve.explain.methods.deep.pairs import Pairs

# Tensors of all activations that one pair takes at a time: the multiplier, a rule's own values, its result.
PARTS = 4
# Activations of one chunk of pairs. A larger chunk leaves the cache; with fewer pairs the cost of calls shows.
CACHE_BYTES = 12 << 20
LEAST_PAIRS = 128


class Deep(Halving):
    """Multipliers by operation, for pairs of an explained row and a background row.

    Costs one forward pass per row and one backward pass per pair and wanted output. Raises UnsupportedNetwork if the
    network cannot be traced, an operation has no rule or mixes rows, or the background does not fit the players.
    """

    method: ClassVar[str] = "deep"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        check_gradients(network)
        self.network = network
        self.program = trace(network.module, tuple(check_background(background, players)[n] for n in network.names))
        rules = bound_rules(self.program)
        self.forward = Forward(self.program, rules, network.names)
        self.backward = Backward(self.program, rules)
        self.dtype = self.backward.dtype
        numbers = sum(torch.Size(dims.multiples).numel() for dims in self.program.dims.values())
        self.row_bytes = self.dtype.itemsize * (numbers + sum(bound.held for bound in rules))
        # A rule works through the values that it keeps step by step, so they do not count for the cache.
        in_cache = max(LEAST_PAIRS, CACHE_BYTES // (self.dtype.itemsize * numbers))
        on = next(iter(background.values())).device
        self.chunk_rows = rows_in(memory_bytes, PARTS * self.row_bytes, in_cache, on)
        self.memory_bytes = memory_bytes
        self._set_game(background, players)
        self._try_out()

    def again(self, background: Inputs, players: Players) -> "Deep":
        """The same network with another background and other players, without a new trace."""
        other = copy(self)
        other._set_game(background, players)
        return other

    def _set_game(self, background: Inputs, players: Players) -> None:
        self.players, self.background = players, check_background(background, players)
        self.rows = row_count(self.background)
        keep = self.rows * self.row_bytes <= self.memory_bytes // PARTS
        self.background_values = BackgroundValues(self.forward, self.background, keep=keep)
        self.outputs = self._outputs()
        self.base_values = self.outputs.mean(0)

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`.

        Raises InvalidInput for rows of another shape, UnsupportedNetwork for a value that is not finite, and Stopped
        at a stop or a deadline, because an average over part of the background would be another explanation.
        """
        rows = check_rows(rows, self.background, self.players)
        count, wanted = row_count(rows), outputs.shape[1]
        progress = Progress(limits, count * wanted * self.rows)
        totals, predictions = [], []
        of_background = min(self.rows, max(1, self.chunk_rows // wanted))
        for of_rows in ranges(count, max(1, self.chunk_rows // (wanted * of_background))):
            size = wanted * of_background
            explained = partial(self._rows, rows, outputs, of_background, progress)
            total, prediction = self.in_halves(of_rows, explained, _join_rows, rows_each=size)
            totals.append(total)
            predictions.append(prediction)
        progress.go_on()
        values = (torch.cat(totals) if len(totals) > 1 else totals[0]).div_(self.rows)
        if not all_finite(values):
            raise UnsupportedNetwork("deep produced a non-finite value; try another method")
        base = self.base_values[outputs]
        evaluated = count + count * wanted * self.rows
        return Attribution(
            values=values, base_values=base, predictions=torch.cat(predictions), rows_evaluated=evaluated
        )

    def _rows(
        self, rows: Inputs, outputs: torch.Tensor, of_background: int, progress: Progress, of_rows: slice
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The sums over the background, (R, K, P), and the predictions, (R, K), of some rows. Raises Stopped."""
        chosen = outputs[of_rows]
        given = {name: x[of_rows] for name, x in rows.items()}
        here = self.forward.run(given)
        table = as_table(here[self.program.output], len(chosen)).double()
        total: torch.Tensor | None = None
        for part in ranges(self.rows, of_background):
            if not progress.go_on():
                raise Stopped
            share = self._pairs(here, given, part, chosen, summed=True)
            total = share if total is None else total.add_(share)
            progress.done += chosen.numel() * (part.stop - part.start)
        assert total is not None, "a background has rows"
        return total, table.gather(1, chosen)

    def table(self, values: Values, rows: int) -> torch.Tensor:
        """(rows, outputs) float64, from the values at some rows. Raises UnsupportedNetwork if it is not finite."""
        result = as_table(values[self.program.output], rows).double()
        if not all_finite(result):
            raise not_finite("an explained row")
        return result

    def pair_shares(self, row: Inputs, outputs: torch.Tensor, values: Values | None = None) -> torch.Tensor:
        """(K, B, P) float64: the shares of one row, (1, *shape) per input, against each background row.

        values: those of `forward` at the row, if they are known.
        """
        here, step = values or self.forward.run(row), max(1, self.chunk_rows // outputs.shape[1])
        parts = [self._pairs(here, row, part, outputs, summed=False)[0] for part in ranges(self.rows, step)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def _pairs(self, here: Values, rows: Inputs, part: slice, outputs: torch.Tensor, *, summed: bool) -> torch.Tensor:
        """(R, K, P) float64, summed over some background rows, or (R, K, b, P). here: the values at the rows.

        If the memory is not enough, it runs fewer background rows at once.
        """

        def of_some(some: slice) -> torch.Tensor:
            return self._of_part(here, rows, some, outputs, summed=summed)

        join = torch.add if summed else partial(_cat, dim=2)
        return self.in_halves(part, of_some, join, rows_each=outputs.numel())

    def _of_part(self, here: Values, rows: Inputs, part: slice, outputs: torch.Tensor, *, summed: bool) -> torch.Tensor:
        """As _pairs, for all of these background rows at once."""
        count, wanted, size = *outputs.shape, part.stop - part.start
        stacked = not self.program.tracked
        if stacked:
            # The rows cannot be followed through the network, so both sides are run once per pair.
            here = self.forward.run({n: x.repeat_interleave(wanted * size, 0) for n, x in rows.items()})
            some = self.background_values.inputs(part)
            base = self.forward.run({n: x.repeat(count * wanted, *[1] * (x.ndim - 1)) for n, x in some.items()})
        else:
            base = self.background_values.at(part)
        seen = self.background_values.seen if base is self.background_values.kept else {}
        pairs = Pairs(self.program, here, base, (count, wanted, size), stacked=stacked, dtype=self.dtype, seen=seen)
        with torch.no_grad():
            given = self.backward.run(pairs, outputs)
            slots = zip(self.network.names, self.program.inputs, strict=True)
            shares = {name: self.backward.attribution(pairs, given, slot) for name, slot in slots}
            elements = {name: x.sum(2, dtype=torch.float64) if summed else x.double() for name, x in shares.items()}
            return self.players.collect(elements)

    def _outputs(self) -> torch.Tensor:
        """(B, outputs) float64. Raises UnsupportedNetwork if the traced network returns something else."""
        own, traced = [], []
        with torch.no_grad():
            for part in ranges(self.rows, max(1, self.chunk_rows)):
                rows = self.background_values.inputs(part)
                own.append(self.network(rows).double())
                values = self.background_values.at(part)
                traced.append(as_table(values[self.program.output], row_count(rows)).double())
        result, other = torch.cat(own), torch.cat(traced)
        if not torch.isfinite(result).all():
            raise UnsupportedNetwork("the network's output is not finite on a background row")
        with torch.no_grad():
            check_apart(self.network, {name: x[:8] for name, x in self.background.items()})
        if (result - other).abs().max() > 1e-4 * max(1.0, float(result.abs().max())):
            raise UnsupportedNetwork("the traced network's output differs from the network's; deep cannot be used")
        return result

    def _try_out(self) -> None:
        """Explain one background row against itself, so that a rule that fails does so before a request comes.

        Raises UnsupportedNetwork.
        """
        first = {name: x[:1] for name, x in self.background.items()}
        try:
            self._pairs(self.forward.run(first), first, slice(0, 1), torch.zeros(1, 1, dtype=torch.int64), summed=True)
        except UnsupportedNetwork:
            raise
        except Exception as error:
            # torch may raise any exception for a use of an operation that its rule does not expect.
            raise UnsupportedNetwork(f"deep cannot follow the network: {first_line(error)}") from error


def _join_rows(
    one: tuple[torch.Tensor, torch.Tensor], other: tuple[torch.Tensor, torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.cat([one[0], other[0]]), torch.cat([one[1], other[1]])


def _cat(one: torch.Tensor, other: torch.Tensor, dim: int) -> torch.Tensor:
    return torch.cat([one, other], dim)
