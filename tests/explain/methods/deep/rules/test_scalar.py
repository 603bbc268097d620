"""The rules for functions of a few numbers, against exact enumeration and against their definition."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations, product
from math import factorial

import pytest
import torch

from tests.explain.methods.deep.rules.case import Explained, explain, in_groups
from tests.explain.methods.deep.rules.cases_scalar import ONE, THREE, TWO, Interval, Scalar

# Players of one argument: alone, and two whose mean is the argument. Among the pairs of an explained row and a
# background row are some whose means are equal, and some whose means are almost equal.
ROWS = [(0.8, 1.0, 0.0), (0.3, 0.75, 0.875)]
BACKGROUND = [(0.1, 0.0, 1.0), (0.8, 0.5, 0.5), (0.6, 0.25, 0.125), (0.4, 1 - 2.0**-24, 0.0)]


def players(sides: Sequence[tuple[float, ...]], arguments: int) -> torch.Tensor:
    """(rows, 3 · arguments). Each argument takes the sides in another order, so that all combinations occur."""
    return torch.stack(
        [torch.tensor(sides).roll(j, 0) for j in range(arguments)], -1
    ).reshape(len(sides), -1).double()  # fmt: skip


def arguments_of(cases: Sequence[Scalar], x: torch.Tensor) -> list[list[torch.Tensor]]:
    """By case, each argument (N, 2): of one player, and of two. Equal arguments are computed once for all cases."""
    x = x.reshape(x.shape[0], 3, -1)
    means = torch.stack([x[:, 0], (x[:, 1] + x[:, 2]) / 2], 1)
    true = x > 0.5
    both = torch.stack([true[:, 0], torch.logical_and(true[:, 1], true[:, 2])], 1)

    @cache
    def argument(j: int, interval: Interval, *, whole: bool) -> torch.Tensor:
        if interval is None:
            return both[..., j]
        number = interval[0] + (interval[1] - interval[0]) * means[..., j]
        return number.floor().long() if whole else number

    return [[argument(j, each, whole=case.whole) for j, each in enumerate(case.intervals)] for case in cases]


def explained(arguments: int) -> Callable[[Sequence[Scalar]], Explained]:
    rows, background = players(ROWS, arguments), players(BACKGROUND, arguments)

    def run(cases: Sequence[Scalar]) -> Explained:
        def functions(x: torch.Tensor) -> list[torch.Tensor]:
            given = arguments_of(cases, x)
            return [case.function(*each) for case, each in zip(cases, given, strict=True)]

        return explain(functions, rows, background)

    return run


TABLES = [(1, ONE), (2, TWO), (3, THREE)]
FOUND = {arguments: in_groups(cases, explained(arguments)) for arguments, cases in TABLES}
CASES = [
    pytest.param(arguments, number, case, id=f"{case}-{number}")
    for arguments, cases in TABLES
    for number, case in enumerate(cases)
]


@pytest.mark.parametrize(("arguments", "number", "case"), CASES)
def test_scalar_rule(arguments: int, number: int, case: Scalar):
    found, place = FOUND[arguments](number)
    assert case.operation in found.names[place]
    deep, exact = (each[..., found.columns[place]] for each in (found.deep, found.exact))
    # Every argument its own player: the rule is the Shapley value itself.
    tolerance = 1e-6 if case.operation == "aten._to_copy" else 1e-9
    assert torch.allclose(deep[..., 0], exact[..., 0], rtol=tolerance, atol=tolerance)
    # Two players behind each argument: by definition, the arguments' multipliers times what each player adds.
    wanted = defined(case, arguments)
    assert torch.allclose(deep[..., 1], wanted, rtol=1e-6, atol=1e-6 * float(wanted.abs().max()))


def defined(case: Scalar, arguments: int) -> torch.Tensor:
    """(R, P): the mean over the background of multiplier times the players' shares of the argument."""
    x, x0 = players(ROWS, arguments), players(BACKGROUND, arguments)
    wide, wide0 = (side.expand(len(x), len(x0), -1).reshape(-1, x.shape[1]) for side in (x[:, None], x0[None]))
    sides = [(a[:, 1], a0[:, 1]) for a, a0 in zip(*(arguments_of([case], x)[0] for x in (wide, wide0)), strict=True)]
    result = torch.zeros(len(wide), 3, arguments, dtype=torch.float64)
    for j, interval in enumerate(case.intervals):
        u, u0 = (side.reshape(-1, 3, arguments)[:, 1:, j] for side in (wide, wide0))
        result[:, 1:, j] = multiplier(case, sides, j)[:, None] * shares(case, interval, u, u0, sides[j])
    return result.reshape(len(x), len(x0), -1).mean(1)


def shares(
    case: Scalar, interval: Interval, u: torch.Tensor, u0: torch.Tensor, sides: tuple[torch.Tensor, torch.Tensor]
) -> torch.Tensor:
    """(pairs, 2): what each of two players adds to an argument."""
    if interval is None:
        true, true0 = (u > 0.5).double(), (u0 > 0.5).double()
        return (true - true0) * ((true + true0) / 2).flip(1)
    low, high = interval
    change = (u - u0) * (high - low) / 2
    if not case.whole:
        return change
    # The jumps of rounding down, shared as the number is; nothing without a jump.
    jump = (sides[0] - sides[1]).double()
    return torch.where(jump[:, None] == 0, 0.0, change * (jump / change.sum(1))[:, None])


def multiplier(case: Scalar, sides: Sequence[tuple[torch.Tensor, torch.Tensor]], j: int) -> torch.Tensor:
    """(pairs,): the slope in argument j, averaged over the sides of the others with Shapley's weights."""
    others = [i for i in range(len(sides)) if i != j]
    total = torch.zeros(len(sides[0][0]), dtype=torch.float64)
    for size in range(len(others) + 1):
        weight = factorial(size) * factorial(len(others) - size) / factorial(len(sides))
        for present in combinations(others, size):
            fixed = {i: sides[i][0] if i in present else sides[i][1] for i in others}
            total += weight * slope(case, fixed, j, *sides[j])
    return total


def slope(case: Scalar, fixed: dict[int, torch.Tensor], j: int, a: torch.Tensor, a0: torch.Tensor) -> torch.Tensor:
    def at(value: torch.Tensor) -> torch.Tensor:
        values = [fixed[i] if i != j else value for i in range(len(fixed) + 1)]
        # The functions take (N, 2), and the second column is the one looked at.
        return case.function(*(torch.stack([v, v], 1) for v in values))[:, 1].double()

    if a.dtype is torch.bool:
        return at(torch.ones_like(a)) - at(torch.zeros_like(a))
    change, moved = at(a) - at(a0), (a - a0).double()
    leaf = a.double().clone().requires_grad_()
    result = torch.zeros(()) if case.whole else at(leaf).sum()
    derivative = torch.autograd.grad(result, leaf)[0] if result.requires_grad else torch.zeros_like(leaf)
    return torch.where(moved == 0, derivative, change / torch.where(moved == 0, 1.0, moved))


def test_the_pairs_hold_what_they_should():
    """A difference of 0 whose players differ, and one that is almost 0, in every argument."""
    x, x0 = players(ROWS, 1), players(BACKGROUND, 1)
    means = x[:, None, 1:].mean(-1) - x0[None, :, 1:].mean(-1)
    assert (means == 0).any()
    assert ((means != 0) & (means.abs() < 1e-7)).any()
    assert all((x[i] != x0[k]).any() for i, k in product(range(2), range(4)))
