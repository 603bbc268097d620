"""The backward half of `deep`: from a multiplier of 1 at the wanted output to multipliers of the inputs."""

from typing import Any

import torch

from whyserve.explain.graph.program import Program
from whyserve.explain.methods.deep.bound_rule import BoundRule
from whyserve.explain.methods.deep.multipliers import Multipliers
from whyserve.explain.methods.deep.pairs import Pairs


class Backward:
    """The rules of a traced network, applied from the last step to the first.

    dtype: the network's widest floating-point dtype, in which multipliers are computed. mixed: whether it has others.
    """

    def __init__(self, program: Program, rules: list[BoundRule]) -> None:
        self.program, self.rules = program, rules
        floats = {dtype for dtype in program.dtypes.values() if dtype.is_floating_point}
        self.dtype = max(floats, key=lambda dtype: dtype.itemsize)
        self.mixed = len(floats) > 1

    def run(self, pairs: Pairs, outputs: torch.Tensor) -> Multipliers:
        """Multipliers of the inputs, for outputs (R, K)."""
        given = Multipliers(pairs)
        rows = pairs.count if pairs.stacked else outputs.numel()
        given.add(self.program.output, self._start(outputs, rows), rows, self.program.output)
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

    def attribution(self, pairs: Pairs, given: Multipliers, slot: int) -> torch.Tensor:
        """Multiplier times change of one input, (R, K, B, *shape)."""
        shape = self.program.dims[slot].multiples[1:]
        taken = given.take(slot)
        if taken is None:
            return torch.zeros(pairs.rows, pairs.outputs, pairs.background, *shape, dtype=self.dtype)
        g, rows = taken
        assert isinstance(g, torch.Tensor), "an input is one tensor"
        parts = (pairs.rows, pairs.outputs, rows // (pairs.rows * pairs.outputs))
        change = pairs.row(slot) - pairs.base(slot)
        if pairs.stacked:
            change = change.reshape(pairs.rows, pairs.outputs, pairs.background, *shape)
        return g.reshape(*parts, *shape) * change

    def _typed(self, slot: int, g: Any) -> Any:
        """A multiplier in the dtype of its slot, since a cast in the network is also passed on the way back."""
        dtype = self.program.dtypes.get(slot, self.dtype)
        if isinstance(g, dict):
            return g  # the results of one operation may differ in dtype
        return g.to(dtype) if dtype.is_floating_point else g

    def _start(self, outputs: torch.Tensor, rows: int) -> torch.Tensor:
        """1 at the wanted output, one row for each explained row and output."""
        dims = self.program.dims[self.program.output]
        if len(dims.multiples) == 1:
            return torch.ones(rows, dtype=self.dtype)
        chosen = outputs.reshape(-1)
        if rows != len(chosen):
            chosen = chosen.repeat_interleave(rows // len(chosen))
        return torch.zeros(dims.at(rows), dtype=self.dtype).scatter_(1, chosen[:, None], 1.0)
