"""How the cases of the rules are run: many functions in one traced network, one column of outputs per case.

A trace costs far more than the functions in it, so cases that take the same inputs share a network.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

import torch
from torch import nn

from tests.explain.zoo.case import Lambda
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.exact import Exact

TOGETHER = 16  # cases in one network


@dataclass(frozen=True)
class Case:
    """One use of an operation.

    operation: as in RULES. function: from tensors (N, ...) to a tensor (N, ...) of numbers or booleans.
    """

    operation: str
    function: Callable[..., torch.Tensor]

    def __str__(self) -> str:
        return self.operation.removeprefix("aten.")


AnyCase = TypeVar("AnyCase", bound=Case)


@dataclass(frozen=True)
class Explained:
    """A network of several cases, explained at `rows`.

    deep, exact: (R, P, K) attributions; columns: of each case. names: operations that each case's columns depend on.
    """

    method: Deep
    rows: torch.Tensor
    deep: torch.Tensor
    exact: torch.Tensor
    columns: Sequence[slice]
    names: Sequence[set[str]]


Found = Callable[[int], tuple[Explained, int]]
"""From a case's number to the explanation of its group, and the case's place there."""


def explain(
    functions: Callable[[torch.Tensor], Sequence[torch.Tensor]],
    rows: torch.Tensor,
    background: torch.Tensor,
    **modules: nn.Module,
) -> Explained:
    """Functions of x (N, P), each to (N, ...), explained at `rows` (R, P) against `background` (B, P).

    modules: those whose weights the functions use.
    """

    def all_of_them(_: object, x: torch.Tensor) -> torch.Tensor:
        parts = [part.to(torch.float64) for part in functions(x)]
        return torch.cat([part.reshape(x.shape[0], -1) for part in parts], 1)

    network = Network(Lambda(all_of_them, **modules), ("x",))
    players = Players.elements({"x": tuple(rows.shape[1:])})
    method = Deep(network, {"x": background}, players)
    every = torch.arange(method.outputs.shape[1]).expand(len(rows), -1)
    deep, exact = (
        each.explain({"x": rows}, every, Limits()).values.transpose(1, 2)
        for each in (method, Exact(network, {"x": background}, players))
    )
    steps = {step.slot: step for step in method.program.live}
    last = steps[method.program.output]
    assert last.name == "aten.cat"
    columns, names, first = [], [], 0
    for part in last.args[0]:
        width = method.program.dims[part.slot].multiples[1]
        columns.append(slice(first, first + width))
        first += width
        wanted, seen = [part.slot], set()
        while wanted:
            slot = wanted.pop()
            if slot in steps and slot not in seen:
                seen.add(slot)
                wanted.extend(steps[slot].live)
        names.append({steps[slot].name for slot in seen})
    return Explained(method, rows, deep, exact, columns, names)


def in_groups(cases: Sequence[AnyCase], run: Callable[[Sequence[AnyCase]], Explained]) -> Found:
    """Explain cases by groups, each group when the first of its cases is asked for."""

    @cache
    def group(number: int) -> Explained:
        return run(cases[number * TOGETHER : (number + 1) * TOGETHER])

    return lambda number: (group(number // TOGETHER), number % TOGETHER)
