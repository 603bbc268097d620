"""The interface of the explanation methods: their input, their limits and their result.

Shapes, in this package: R explained rows, B background rows, K explained outputs per row, P players. An input is a
tensor of shape (rows, *shape). A network returns (rows, outputs).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from whyserve.model.hierarchy import Tree

Inputs = Mapping[str, torch.Tensor]
"""One tensor per input, by name: (rows, *shape), floating point, or integers for an embedding or index lookup."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one call. None means no limit.

    samples: samples per row: permutations per pair of an explained row and a background row (permutation),
        quadrature points per pair (gradient), or coalitions (kernel). None is the method's default.
    standard_error: sampling ends when every standard error is at most this, in the unit of the output, or rounding.
        Without samples, rounds go on until then or until the deadline.
    deadline: time.monotonic() in seconds; after it, a method stops before its next chunk.
    seed: equal seeds give equal values for a row, in any batch.
    interactions: also compute the interactions of pairs of players. Only `exact` does.
    on_progress: called between chunks with the finished share in [0, 1]; if it returns False, the method stops.
        It may run another method, so a method holds no lock at this time that another one needs.
    on_error: called after each round of sampling with the mean standard error divided by the mean |φ|.
    """

    samples: int | None = None
    standard_error: float | None = None
    deadline: float | None = None
    seed: int = 0
    interactions: bool = False
    on_progress: Callable[[float], bool] | None = None
    on_error: Callable[[float], None] | None = None

    def part(self, number: int, total: int) -> "Limits":
        """The limits of part `number` of `total`: its progress is a part of the whole progress."""
        report = self.on_progress
        return replace(self, on_progress=report and (lambda share: report((number + share) / total)))


@dataclass(frozen=True, slots=True)
class Attribution:
    """The result for R rows.

    values: (R, K, P), the attributions φ, in the unit of the output.
    base_values: (R, K), the mean output of the network over the background.
    predictions: (R, K), the output of the network for the explained rows.
    standard_errors: (R, K, P) if the method samples, otherwise None.
    interactions: (R, K, P, P), symmetric, if they were asked for: half of the interaction of each pair, and the main
        effects on the diagonal. The sum of a line is the attribution of its player.
    rows_evaluated: the number of network rows that this call computed.
    complete: False if a deadline or a stop ended the method early.
    trees: of each row, if the method explains a tree. group_errors: (R, K, G), the standard errors of their groups; the
        value of a group is the sum of the values of its players.
    """

    values: torch.Tensor
    base_values: torch.Tensor
    predictions: torch.Tensor
    standard_errors: torch.Tensor | None = None
    rows_evaluated: int = 0
    complete: bool = True
    interactions: torch.Tensor | None = None
    trees: Sequence[Tree] | None = None
    group_errors: torch.Tensor | None = None

    @property
    def residuals(self) -> torch.Tensor:
        """(R, K): prediction − base value − Σφ. Zero if the attributions add up."""
        return self.predictions - self.base_values - self.values.sum(-1)


# The fields that are tensors with one item for each row.
TENSORS = ("values", "base_values", "predictions", "standard_errors", "interactions", "group_errors")


class Stopped(Exception):
    """A deadline or a stop ended the method before it had a result."""


class Explainer(Protocol):
    """One method, prepared for one network, one background and one set of players.

    An explainer is built once and reused: the constructor computes everything that depends on the background only.
    `explain` may run in several threads at once, and it does not change the network.
    """

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Attribute `outputs`, (R, K) int64 column numbers, at `rows`, R rows per input.

        Raises InvalidInput if the rows do not fit the network's inputs, UnsupportedNetwork if the network returns a
        non-finite value, and Stopped if a deadline or a stop comes before there is a result.
        """
        ...


def row_by_row(
    method_of: Callable[[int, Inputs], Explainer], rows: Inputs, outputs: torch.Tensor, limits: Limits
) -> Attribution:
    """Explain each row with a method of its own. A row with fewer players than others ends with 0.

    method_of: the method for a row, of which it gets the number and the inputs, (1, *shape) each.
    Raises what the methods raise.
    """
    parts, total = [], len(outputs)
    for number in range(total):
        row = {name: x[number : number + 1] for name, x in rows.items()}
        method = method_of(number, row)
        parts.append(method.explain(row, outputs[number : number + 1], limits.part(number, total)))

    def joined(name: str) -> torch.Tensor | None:
        """(1, K, P) of each row → (R, K, largest P); None if no row has it."""
        found = [x for part in parts if (x := getattr(part, name)) is not None]
        width = max((x.shape[-1] for x in found), default=0)
        return torch.cat([torch.nn.functional.pad(x, (0, width - x.shape[-1])) for x in found]) if found else None

    named: dict[str, Any] = {name: joined(name) for name in TENSORS}
    trees = [tree for part in parts for tree in part.trees or ()]
    evaluated, complete = sum(part.rows_evaluated for part in parts), all(part.complete for part in parts)
    return Attribution(**named, rows_evaluated=evaluated, complete=complete, trees=trees or None)
