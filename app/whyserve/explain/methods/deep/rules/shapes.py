"""Views, slices and concatenations: they move elements and do not change them, so they are linear."""

import torch

from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.bound_rule import BoundRule, Shares
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.rules.linear import sum_to

aten = torch.ops.aten


def reshaped(step: Step, program: Program) -> BoundRule:
    """A view that keeps all elements in their order."""
    (source,) = step.live
    dims = program.dims[source]
    return BoundRule(step.slot, step.name, lambda _, g, rows: [(source, g.reshape(dims.at(rows)))], linear=True)


def permuted(step: Step, program: Program) -> BoundRule:
    """Dimensions in another order."""
    (source,) = step.live
    size = len(program.dims[source].multiples)
    order = [d % size for d in step.args[1]]
    inverse = [order.index(d) for d in range(size)]
    return BoundRule(step.slot, step.name, lambda _, g, __: [(source, g.permute(inverse))], linear=True)


def expanded(step: Step, program: Program) -> BoundRule:
    """The sum over the repeated elements."""
    (source,) = step.live
    dims = program.dims[source]
    return BoundRule(step.slot, step.name, lambda _, g, rows: [(source, sum_to(g, dims.at(rows)))], linear=True)


def cut(step: Step, program: Program) -> BoundRule | None:
    """A slice; elements outside it get 0. A slice of the batch itself is left to the general rule."""
    (source,) = step.live
    dims, dim = program.dims[source], step.argument(1, 0)
    if any(isinstance(a, Ref) for a in step.args[1:]) or dim % len(dims.multiples) == dims.batch:
        return None
    place: tuple[int, ...]
    if step.name == "aten.select":
        place, undone = (step.args[2],), aten.select_backward
    else:
        start, end = step.argument(2), step.argument(3)
        size = dims.multiples[dim]
        place = (0 if start is None else start, size if end is None else end, step.argument(4, 1))
        undone = aten.slice_backward
    back = lambda _, g, rows: [(source, undone(g, dims.at(rows), dim, *place))]  # noqa: E731
    return BoundRule(step.slot, step.name, back, linear=True)


def split(step: Step, program: Program) -> BoundRule | None:
    """Parts side by side; a part that the network does not use gets 0."""
    (source,), sizes, dim = step.live, step.args[1], step.argument(2, 0)
    dims = program.dims[source]
    if dim % len(dims.multiples) == dims.batch or any(isinstance(size, Ref) for size in sizes):
        return None
    dim = dim % len(dims.multiples)

    def back(_: Pairs, g: dict[int, torch.Tensor], rows: int) -> Shares:
        shape, one = list(dims.at(rows)), next(iter(g.values()))
        parts = [
            g[i] if i in g else one.new_zeros([*shape[:dim], size, *shape[dim + 1 :]]) for i, size in enumerate(sizes)
        ]
        return [(source, torch.cat(parts, dim))]

    return BoundRule(step.slot, step.name, back, linear=True)


def joined(step: Step, program: Program) -> BoundRule | None:
    """Each part gets its own piece of the multiplier."""
    parts, dim = step.args[0], step.argument(1, 0)
    if not all(step.is_live(part) for part in parts):
        return None
    shapes = [program.dims[part.slot] for part in parts]
    dim = dim % len(shapes[0].multiples)
    if any(dims.batch == dim or len(dims.multiples) != len(shapes[0].multiples) for dims in shapes):
        return None
    sizes, slots = [dims.multiples[dim] for dims in shapes], [part.slot for part in parts]
    return BoundRule(step.slot, step.name, lambda _, g, __: zip(slots, g.split(sizes, dim), strict=True), linear=True)


def item(step: Step, _: Program) -> BoundRule:
    """One of several results: its multiplier joins those of the operation, by number."""
    (source,), number = step.live, step.args[1]
    return BoundRule(step.slot, step.name, lambda _, g, __: [(source, {number: g})], linear=True)  # type: ignore[list-item]
