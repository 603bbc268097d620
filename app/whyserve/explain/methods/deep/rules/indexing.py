"""Elements picked by position: indexing, gathering, scattering and embeddings.

An integer that depends on the input has no slope, so its attribution is taken from the vector that it selects: the
sum of multiplier times change over the vector, given to the integer as a multiplier over Δinteger. The multiplier is
0 where the integer is the same on both sides (see steps for when this is exact).
"""

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.rules.linear import by_autograd
from whyserve.explain.methods.deep.rules.steps import over

# Positions of the arguments that an operation is linear in: where elements come from, and values put among them.
VALUES = {
    "aten.gather": (0,),
    "aten.index": (0,),
    "aten.index_put": (0, 2),
    "aten.index_select": (0,),
    "aten.scatter": (0, 3),
    "aten.scatter_add": (0, 3),
    "aten.where": (1, 2),
}


def picked(step: Step, program: Program) -> BoundRule | None:
    """Elements picked or placed by constants: linear in the elements."""
    if any(step.is_live(a) for i, a in enumerate(step.args) if i not in VALUES[step.name]):
        return None
    return by_autograd(step, program)


def embedded(step: Step, _: Program) -> BoundRule | None:
    """Vectors of a constant table, by number."""
    index = step.args[1]
    return None if step.live != (index.slot,) else _by_vector(step, index.slot, width=1)


def looked_up(step: Step, program: Program) -> BoundRule | None:
    """A constant table indexed in its first dimension by integers that depend on the input."""
    if step.is_live(step.args[0]) or (step.name == "aten.index_select" and step.args[1] != 0):
        return None
    indices = step.args[1] if step.name == "aten.index" else (step.args[2],)
    if len(indices) != 1 or not step.is_live(indices[0]) or program.dtypes[indices[0].slot] is torch.bool:
        return None
    slot = indices[0].slot
    return _by_vector(step, slot, width=len(program.dims[step.slot].multiples) - len(program.dims[slot].multiples))


def _by_vector(step: Step, index: int, *, width: int) -> BoundRule:
    """width: how many dimensions a selected vector has."""

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        change = pairs.unflatten(step.slot, g, rows) * (pairs.row(step.slot) - pairs.base(step.slot))
        share = change.sum(tuple(range(-width, 0))) if width else change
        yield index, pairs.flatten_pairs(index, over(share, pairs.row(index) - pairs.base(index)))

    return BoundRule(step.slot, back, frozenset((index, step.slot)))
