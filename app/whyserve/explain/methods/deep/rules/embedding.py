"""Integers that pick: the attribution starts at what they pick, and is summed over its width."""

import torch

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule


def _moved(pairs: Pairs, index: int, g: torch.Tensor, rows: int, *, slot: int, width: int) -> torch.Tensor:
    """The share of each number that picks, as a rate of its change: 0 where it picks the same."""
    change = pairs.unflatten(slot, g, rows) * (pairs.row(slot) - pairs.base(slot))
    share = change.sum(tuple(range(-width, 0))) if width else change
    step = (pairs.row(index) - pairs.base(index)).to(share.dtype)
    return pairs.flatten_pairs(index, torch.where(step == 0, 0.0, share / torch.where(step == 0, 1.0, step)))


@rule("aten.embedding")
def embedded(step: Step, program: Program) -> BoundRule | None:
    """Rows of a constant table by number."""
    index = step.args[1]
    if step.live != (index.slot,):
        return None

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        return [(index.slot, _moved(pairs, index.slot, g, rows, slot=step.slot, width=1))]

    return BoundRule(step.slot, step.name, back, frozenset((index.slot, step.slot)))


@rule("aten.index", "aten.index_select")
def indexed(step: Step, program: Program) -> BoundRule | None:
    """A constant table indexed in its first dimension by numbers that depend on the input."""
    if step.is_live(step.args[0]):
        return None
    picks = step.args[1] if step.name == "aten.index" else (step.args[2],)
    if step.name == "aten.index_select" and step.args[1] != 0:
        return None
    if len(picks) != 1 or not step.is_live(picks[0]) or program.dtypes[picks[0].slot] is torch.bool:
        return None
    slot = picks[0].slot
    width = len(program.dims[step.slot].multiples) - len(program.dims[slot].multiples)

    def back(pairs: Pairs, g: torch.Tensor, rows: int) -> Shares:
        return [(slot, _moved(pairs, slot, g, rows, slot=step.slot, width=width))]

    return BoundRule(step.slot, step.name, back, frozenset((slot, step.slot)))
