"""What moves elements and leaves them as they are: views, parts, pieces put together."""

import torch

from whyserve.explain.graph.program import Program, Ref, Step
from whyserve.explain.methods.deep.pairs import Pairs
from whyserve.explain.methods.deep.registry import BoundRule, Shares, rule
from whyserve.explain.methods.deep.rules.linear import by_autograd, sum_to

aten = torch.ops.aten


def reshaped(step: Step, program: Program) -> BoundRule:
    """What keeps every element in its order."""
    (source,) = step.live
    dims = program.dims[source]
    return BoundRule(step.slot, step.name, lambda _, g, rows: [(source, g.reshape(dims.at(rows)))], linear=True)


for _name in ("view", "_unsafe_view", "unsqueeze", "squeeze", "reshape"):
    rule(f"aten.{_name}")(reshaped)


@rule("aten.permute", "aten.transpose", "aten.t")
def permuted(step: Step, program: Program) -> BoundRule | None:
    """Dimensions in another order."""
    (source,) = step.live
    size = len(program.dims[source].multiples)
    if step.name != "aten.permute":
        return by_autograd(step, program)
    order = [d % size for d in step.args[1]]
    inverse = [order.index(d) for d in range(size)]
    return BoundRule(step.slot, step.name, lambda _, g, __: [(source, g.permute(inverse))], linear=True)


@rule("aten.expand")
def expanded(step: Step, program: Program) -> BoundRule:
    """Undone by a sum."""
    (source,) = step.live
    dims = program.dims[source]
    return BoundRule(step.slot, step.name, lambda _, g, rows: [(source, sum_to(g, dims.at(rows)))], linear=True)


@rule("aten.slice", "aten.select")
def cut(step: Step, program: Program) -> BoundRule | None:
    """A part; what was left out gets nothing."""
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


@rule("aten.split_with_sizes")
def split(step: Step, program: Program) -> BoundRule | None:
    """Parts side by side, and nothing in place of one that nothing came of."""
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


@rule("aten.cat")
def joined(step: Step, program: Program) -> BoundRule | None:
    """Each part has its own piece."""
    parts, dim = step.args[0], step.argument(1, 0)
    if not all(step.is_live(part) for part in parts):
        return None
    shapes = [program.dims[part.slot] for part in parts]
    dim = dim % len(shapes[0].multiples)
    if any(dims.batch == dim or len(dims.multiples) != len(shapes[0].multiples) for dims in shapes):
        return None
    sizes, slots = [dims.multiples[dim] for dims in shapes], [part.slot for part in parts]
    return BoundRule(step.slot, step.name, lambda _, g, __: zip(slots, g.split(sizes, dim), strict=True), linear=True)


@rule("getitem")
def item(step: Step, _: Program) -> BoundRule:
    """One of several results: its multiplier goes into the parent's, by number."""
    (source,), number = step.live, step.args[1]
    return BoundRule(step.slot, step.name, lambda _, g, __: [(source, {number: g})], linear=True)  # type: ignore[list-item]


# A batch cut or joined, and sizes that are not known.
for _name in ("expand", "slice", "select", "cat", "split_with_sizes"):
    rule(f"aten.{_name}")(by_autograd)
