"""Views: they move elements and do not change them, so they are linear."""

from whyserve.explain.graph.program import Program, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule


def reshaped(step: Step, program: Program) -> BoundRule:
    """A view that keeps all elements in their order."""
    (source,) = step.live
    dims = program.dims[source]
    return BoundRule(step.slot, lambda _, g, rows: [(source, g.reshape(dims.at(rows)))], linear=True)


def permuted(step: Step, program: Program) -> BoundRule:
    """Dimensions in another order."""
    (source,) = step.live
    size = len(program.dims[source].multiples)
    order = [d % size for d in step.args[1]]
    inverse = [order.index(d) for d in range(size)]
    return BoundRule(step.slot, lambda _, g, __: [(source, g.permute(inverse))], linear=True)


def item(step: Step, _: Program) -> BoundRule:
    """One of several results: its multiplier joins those of the operation, by number."""
    (source,), number = step.live, step.args[1]
    return BoundRule(step.slot, lambda _, g, __: [(source, {number: g})], linear=True)  # type: ignore[list-item]
