"""Recurrent layers as one operation, with all layers and directions.

Decomposed, an LSTM has about fifteen small operations per step and layer. As one operation, everything that does not
depend on a multiplier is computed for all steps at once (see rnn_cell).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.rules.lstm_gru import Gru, Lstm
from whyserve.explain.methods.deep.rules.rnn_cell import Cell, Kept, Plain

CELLS: dict[str, Callable[..., Cell]] = {
    "aten.lstm": Lstm,
    "aten.gru": Gru,
    "aten.rnn_tanh": partial(Plain, relu=False),
    "aten.rnn_relu": partial(Plain, relu=True),
}


def recurrent(step: Step, program: Program) -> BoundRule | None:
    """Constant weights; the input and the first states may depend on the network's input."""
    if any(weight.slot not in program.constants for weight in step.args[2]):
        return None
    stack = Stack(step, program)
    held = stack.steps * sum(cell.kept * cell.size for cell in stack.cells)
    return BoundRule(step.slot, stack.back, frozenset((step.slot,)), run=stack.run, held=held)


class Stack:
    """The cells of one operation. Raises UnsupportedNetwork if the operation takes rows of the batch for steps."""

    def __init__(self, step: Step, program: Program) -> None:
        x, first, weights, biased, layers, _, _, both_ways, self.batch_first = step.args
        first = first if isinstance(first, tuple) else (first,)
        self.slot = step.slot
        self.x, *self.first = (ref.slot if step.is_live(ref) else None for ref in (x, *first))
        self.ways = 2 if both_ways else 1
        values = [program.constants[weight.slot] for weight in weights]
        size = len(values) // (layers * self.ways)
        self.cells = [
            CELLS[step.name](values[i : i + size], biased=biased, backwards=both_ways and number % 2 == 1)
            for number, i in enumerate(range(0, len(values), size))
        ]
        self.steps = self._steps(step, program)

    def _steps(self, step: Step, program: Program) -> int:
        if self.x is None:
            given: torch.Tensor = program.fixed_values(1)[step.args[0].slot]
            return int(given.shape[self.batch_first])
        dims = program.dims[self.x]
        if dims.batch != (not self.batch_first):
            raise UnsupportedNetwork(
                f"{step.name} mixes rows of the batch: it takes rows for the steps of one sequence (see batch_first)"
            )
        return int(dims.multiples[self.batch_first])

    def run(self, x: torch.Tensor, first: Any, *_: Any) -> tuple[Any, ...]:
        """The operation's results and, after them, a list of Kept, one per cell."""
        x = x.transpose(0, 1) if self.batch_first else x
        firsts = first if isinstance(first, list) else [first]
        kept: list[Kept] = []
        lasts: list[list[torch.Tensor]] = []
        for bottom in range(0, len(self.cells), self.ways):
            for at in range(bottom, bottom + self.ways):
                seen, last = self.cells[at].run(x, [states[at] for states in firsts])
                kept.append(seen)
                lasts.append(last)
            x = torch.cat([seen[0] for seen in kept[bottom:]], -1) if self.ways == 2 else kept[bottom][0]
        ends = (torch.stack(states) for states in zip(*lasts, strict=True))
        return (x.transpose(0, 1) if self.batch_first else x, *ends, kept)

    def back(self, pairs: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        """The cells' rules, from the last layer to the first."""
        row, base = pairs.kept(self.slot)
        shape = row[0][0].shape[1:-1] if pairs.stacked else (pairs.rows, pairs.outputs, pairs.background)
        g = {number: part.to(pairs.dtype) for number, part in g.items()}
        given = pairs.spread(g[0].transpose(0, 1) if self.batch_first else g[0]) if 0 in g else None
        ends = [pairs.spread(g[1 + i]) if 1 + i in g else None for i in range(len(self.first))]
        found: list[list[torch.Tensor]] = [[] for _ in self.cells]
        for bottom in reversed(range(0, len(self.cells), self.ways)):
            below = None
            for at in range(bottom, bottom + self.ways):
                cell = self.cells[at]
                part = given if given is None or self.ways == 1 else given.chunk(2, -1)[at - bottom]
                entered, found[at] = cell.back(row[at], base[at], part, self._last(at, ends, shape, pairs.dtype))
                if bottom or self.x is not None:
                    share = cell.entered(entered)
                    below = share if below is None else below.add_(share)
            given = below
        if self.x is not None and given is not None:
            given = given.reshape(len(given), -1, given.shape[-1])
            yield self.x, given.transpose(0, 1) if self.batch_first else given
        for slot, states in zip(self.first, zip(*found, strict=True), strict=True):
            if slot is not None:
                yield slot, torch.stack([state.reshape(-1, state.shape[-1]) for state in states])

    def _last(
        self, at: int, ends: Sequence[torch.Tensor | None], shape: Sequence[int], dtype: torch.dtype
    ) -> list[torch.Tensor]:
        """Multipliers of a cell's last states, (*P, H): 0 if the network does not use them."""
        widths = (self.cells[at].given, self.cells[at].size)[: len(ends)]
        return [
            torch.zeros(*shape, width, dtype=dtype) if end is None else end[at].expand(*shape, width)
            for end, width in zip(ends, widths, strict=True)
        ]
