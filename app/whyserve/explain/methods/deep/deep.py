"""DeepLIFT on operations: a multiplier for each operation of the traced network, from its output back to its inputs.

DeepLIFT (Shrikumar et al. 2017) against every background row and averaged (DeepSHAP: Lundberg & Lee 2017; Chen,
Lundberg & Lee 2021), with rules by operation and not by module, so that any way of writing a network adds up.
"""

from dataclasses import replace
from typing import Any, ClassVar

import torch

from whyserve.errors import UnsupportedNetwork, first_line
from whyserve.explain.game.base import Attribution, Inputs, Limits, Stopped
from whyserve.explain.game.evaluation import Progress, all_finite, check_background, check_rows, ranges
from whyserve.explain.game.network import Network, as_table, check_apart, row_count
from whyserve.explain.game.players import Players
from whyserve.explain.graph.export import trace
from whyserve.explain.graph.program import Program
from whyserve.explain.graph.reader import is_random
from whyserve.explain.methods.deep.multipliers import Multipliers
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, find
from whyserve.explain.methods.deep.rules import (  # noqa: F401
    elementwise,
    embedding,
    linear,
    maximum,
    normalization,
    products,
    recurrent,
    shapes,
    softmax,
)

# What one pair's multipliers take at a time, in activations of the network: the multiplier, a rule's own, its result.
PARTS = 4
# Pairs of one chunk, where memory is plenty: more do not fit the cache, and fewer show the cost of calling.
CACHE_BYTES = 12 << 20
LEAST_PAIRS = 128
FEW_OUTPUTS = 256  # whose unit vectors are kept

Values = dict[int, Any]
"""By slot: a tensor, or the list of what a rule keeps."""


class Deep:
    """Multipliers by operation, for pairs of an explained row and a background row.

    Costs one forward pass a row and one backward pass a pair and output wanted. Raises UnsupportedNetwork when the
    network cannot be traced, an operation has no rule or mixes rows, or the background does not fit.
    """

    method: ClassVar[str] = "deep"

    def __init__(self, network: Network, background: Inputs, players: Players, *, memory_bytes: int = 1 << 30) -> None:
        self.network, self.players = network, players
        self.background = check_background(background, players)
        self.rows = row_count(self.background)
        self.program = trace(network.module, tuple(self.background[name] for name in network.names))
        self.rules = _bound_rules(self.program)
        self.needs = _needs(self.program, self.rules)
        steps = zip(self.program.live, self.rules, strict=True)
        self.steps = [step if bound.run is None else replace(step, op=bound.run) for step, bound in steps]
        floats = {dtype for dtype in self.program.dtypes.values() if dtype.is_floating_point}
        self.dtype = max(floats, key=lambda dtype: dtype.itemsize)
        self.mixed = len(floats) > 1
        numbers = sum(torch.Size(dims.multiples).numel() for dims in self.program.dims.values())
        self.row_bytes = self.dtype.itemsize * (numbers + sum(bound.held for bound in self.rules))
        # What a rule keeps it works on step by step: no more than a step of it is wanted in the cache.
        at_hand = max(LEAST_PAIRS, CACHE_BYTES // (self.dtype.itemsize * numbers))
        fits = max(1, memory_bytes // (PARTS * self.row_bytes))
        self.chunk_pairs = min(fits, at_hand)
        self._base: Values | None = None
        if self.rows * self.row_bytes <= memory_bytes // PARTS:
            self._base = self._run(self.background)
        self.outputs = self._outputs()
        few = self.outputs.shape[1] <= FEW_OUTPUTS
        self._one_hot = torch.eye(self.outputs.shape[1], dtype=self.dtype) if few else None
        self.base_values = self.outputs.mean(0)
        self._try_out()

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Values (R, K, P) of `outputs` (R, K) at `rows`.

        Raises InvalidInput for rows of another shape, UnsupportedNetwork for a value that is not finite, and Stopped
        at a stop or a deadline: some of the background is not the background.
        """
        rows = check_rows(rows, self.background, self.players)
        count, wanted = row_count(rows), outputs.shape[1]
        progress = Progress(limits, count * wanted * self.rows)
        totals, predictions = [], []
        of_background = min(self.rows, max(1, self.chunk_pairs // wanted))
        for of_rows in ranges(count, max(1, self.chunk_pairs // (wanted * of_background))):
            chosen = outputs[of_rows]
            given = {name: x[of_rows] for name, x in rows.items()}
            here = self._run(given)
            table = as_table(here[self.program.output], len(chosen)).double()
            predictions.append(table.gather(1, chosen))
            total: torch.Tensor | None = None
            for part in ranges(self.rows, of_background):
                if not progress.go_on():
                    raise Stopped
                share = self._pairs(here, given, part, chosen)
                total = share if total is None else total.add_(share)
                progress.done += chosen.numel() * (part.stop - part.start)
            assert total is not None, "a background has rows"
            totals.append(total)
        progress.go_on()
        values = torch.cat(totals).div_(self.rows)
        self._check_finite(values)
        base = self.base_values[outputs]
        evaluated = count + count * wanted * self.rows
        return Attribution(
            values=values, base_values=base, predictions=torch.cat(predictions), rows_evaluated=evaluated
        )

    def _try_out(self) -> None:
        """One row of the background against itself: what a rule cannot do is known before anybody asks.

        Raises UnsupportedNetwork.
        """
        first = {name: x[:1] for name, x in self.background.items()}
        try:
            self._pairs(self._run(first), first, slice(0, 1), torch.zeros(1, 1, dtype=torch.int64))
        except UnsupportedNetwork:
            raise
        except Exception as error:
            # Whatever torch raises of an operation used in a way that its rule does not know.
            raise UnsupportedNetwork(f"deep cannot follow the network: {first_line(error)}") from error

    # -- forward -------------------------------------------------------------------------------------

    def _run(self, inputs: Inputs) -> Values:
        """What the rules look at, for these rows."""
        program = self.program
        values: dict[int, Any] = program.around(row_count(inputs))
        values.update(zip(program.inputs, (inputs[name] for name in self.network.names), strict=True))
        with torch.no_grad():
            for step in self.steps:
                values[step.slot] = step.run(values)
        found = ((slot, values[slot]) for slot in self.needs)
        return {slot: value[-1] if isinstance(value, tuple) else value for slot, value in found}

    def _outputs(self) -> torch.Tensor:
        """(B, outputs) float64. Raises UnsupportedNetwork when the trace does not do what the network does."""
        own, traced = [], []
        with torch.no_grad():
            for part in ranges(self.rows, max(1, self.chunk_pairs)):
                rows = {name: x[part] for name, x in self.background.items()}
                own.append(self.network(rows).double())
                traced.append(as_table(self._at(part)[self.program.output], row_count(rows)).double())
        result, other = torch.cat(own), torch.cat(traced)
        if not torch.isfinite(result).all():
            raise UnsupportedNetwork("the network gives an output that is not finite on a background row")
        with torch.no_grad():
            check_apart(self.network, {name: x[:8] for name, x in self.background.items()})
        if (result - other).abs().max() > 1e-4 * max(1.0, float(result.abs().max())):
            raise UnsupportedNetwork("the traced network does not return what the network does")
        return result

    def _at(self, part: slice) -> Values:
        """The background's values, of some of its rows."""
        if self._base is None:
            return self._run({name: x[part] for name, x in self.background.items()})
        if part.stop - part.start == self.rows:
            return self._base
        size = part.stop - part.start
        return {slot: self._some(slot, value, part, size) for slot, value in self._base.items()}

    def _some(self, slot: int, value: Any, part: slice, size: int) -> Any:
        if isinstance(value, list):
            return [tuple(x[:, part] for x in each) for each in value]
        dims = self.program.dims[slot]
        axis = dims.batch + (dims.multiples[dims.batch] != 1)
        return value.reshape(dims.unflatten(self.rows)).narrow(axis, part.start, size).reshape(dims.at(size))

    # -- backward ------------------------------------------------------------------------------------

    def _pairs(self, here: Values, rows: Inputs, part: slice, outputs: torch.Tensor) -> torch.Tensor:
        """(R, K, P) float64, summed over some background rows."""
        count, wanted, size = *outputs.shape, part.stop - part.start
        stacked = not self.program.tracked
        if stacked:
            here = self._run({n: x.repeat_interleave(wanted * size, 0) for n, x in rows.items()})
            some = {n: x[part] for n, x in self.background.items()}
            base = self._run({n: x.repeat(count * wanted, *[1] * (x.ndim - 1)) for n, x in some.items()})
        else:
            base = self._at(part)
        pairs = Pairs(self.program, here, base, (count, wanted, size), stacked=stacked, dtype=self.dtype)
        with torch.no_grad():
            given = self._back(pairs, outputs)
            slots = zip(self.network.names, self.program.inputs, strict=True)
            return self.players.collect({name: self._share(pairs, given, slot) for name, slot in slots})

    def _back(self, pairs: Pairs, outputs: torch.Tensor) -> Multipliers:
        given = Multipliers(pairs)
        rows = pairs.count if pairs.stacked else outputs.numel()
        start = self._start(outputs, rows)
        given.add(self.program.output, start, rows, self.program.output)
        for bound in reversed(self.rules):
            taken = given.take(bound.slot)
            if taken is None:
                continue
            g, rows = taken
            if self.mixed:
                g = self._typed(bound.slot, g)
            for slot, share in bound.back(pairs, g, rows):
                given.add(slot, share, rows if bound.linear else pairs.count, bound.slot)
        return given

    def _typed(self, slot: int, g: Any) -> Any:
        """A multiplier in the precision of what it belongs to: a cast in the network is passed on the way back too."""
        dtype = self.program.dtypes.get(slot, self.dtype)
        if isinstance(g, dict):
            return g  # the results of one operation, which need not be of one precision
        return g.to(dtype) if dtype.is_floating_point else g

    def _start(self, outputs: torch.Tensor, rows: int) -> torch.Tensor:
        """1 at the output wanted, a row of it for each row and output."""
        dims = self.program.dims[self.program.output]
        if len(dims.multiples) == 1:
            return torch.ones(rows, dtype=self.dtype)
        chosen = outputs.reshape(-1)
        if rows != len(chosen):
            chosen = chosen.repeat_interleave(rows // len(chosen))
        if self._one_hot is None:
            return torch.zeros(dims.at(rows), dtype=self.dtype).scatter_(1, chosen[:, None], 1.0)
        return self._one_hot.index_select(0, chosen).reshape(dims.at(rows))

    def _share(self, pairs: Pairs, given: Multipliers, slot: int) -> torch.Tensor:
        """Multiplier times change, (R, K, *shape), summed over the background rows."""
        shape = self.program.dims[slot].multiples[1:]
        taken = given.take(slot)
        if taken is None:
            return torch.zeros(pairs.rows, pairs.outputs, *shape, dtype=torch.float64)
        g, rows = taken
        assert isinstance(g, torch.Tensor), "an input is one tensor"
        parts = (pairs.rows, pairs.outputs, rows // (pairs.rows * pairs.outputs))
        change = pairs.row(slot) - pairs.base(slot)
        if pairs.stacked:
            change = change.reshape(pairs.rows, pairs.outputs, pairs.background, *shape)
        return (g.reshape(*parts, *shape) * change).sum(2, dtype=torch.float64)

    def _check_finite(self, values: torch.Tensor) -> None:
        if not all_finite(values):
            raise UnsupportedNetwork("deep came upon a value that is not finite; another method may not")


def _bound_rules(program: Program) -> list[BoundRule]:
    """The steps' rules, in the steps' order. Raises UnsupportedNetwork, which names every operation without one."""
    rules, without = [], set()
    for step in program.live:
        if is_random(step.op, step.args):
            raise UnsupportedNetwork(f"{step.name} draws random numbers: the network has no one answer")
        if program.dtypes.get(step.slot, torch.bool).is_complex:
            raise UnsupportedNetwork(f"{step.name} gives complex numbers, which have no rule: deep is not offered")
        bound = find(step, program)
        if bound is None:
            without.add(step.name)
        else:
            rules.append(bound)
    if without:
        names = ", ".join(sorted(without))
        raise UnsupportedNetwork(f"{names} {'has' if len(without) == 1 else 'have'} no rule: deep is not offered")
    return rules


def _needs(program: Program, rules: list[BoundRule]) -> frozenset[int]:
    return frozenset({*program.inputs, program.output}.union(*(bound.needs for bound in rules)))
