"""What every explanation method takes and gives.

Shapes: R explained rows, B background rows, K outputs wanted a row, P players. An input is a tensor of
(rows, *shape); a network returns (rows, outputs).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch

Inputs = Mapping[str, torch.Tensor]
"""One tensor an input, by name, rows first. Floating point, or integers where an embedding follows."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How far one call may go. A limit that is None does not bind.

    samples: walks (permutation) or coalitions (kernel) a row; None is the method's own default.
    standard_error: stop sampling once every standard error is at most this, in the output's unit.
    deadline: a time.monotonic() instant; past it a method stops at its next chunk.
    seed: equal seeds give equal answers for a row, whatever else shares the batch.
    on_progress: called after a chunk with the share done, in [0, 1]; answering False asks to stop.
    on_error: called after a round of sampling with the mean standard error over the mean |φ| so far.
    """

    samples: int | None = None
    standard_error: float | None = None
    deadline: float | None = None
    seed: int = 0
    on_progress: Callable[[float], bool] | None = None
    on_error: Callable[[float], None] | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """The answer for R rows.

    values: (R, K, P), in the output's unit.
    base_values: (R, K), the network's mean output over the background, at the outputs wanted.
    predictions: (R, K), the network's output at the rows themselves.
    standard_errors: (R, K, P) where the method samples, else None.
    rows_evaluated: rows that went through the network, one way or the other, for this call.
    complete: False when a deadline or a stop cut the method short of what was asked.
    """

    values: torch.Tensor
    base_values: torch.Tensor
    predictions: torch.Tensor
    standard_errors: torch.Tensor | None = None
    rows_evaluated: int = 0
    complete: bool = True

    @property
    def residuals(self) -> torch.Tensor:
        """(R, K): what the attributions leave unexplained; zero when they add up."""
        return self.predictions - self.base_values - self.values.sum(-1)


class Stopped(Exception):
    """A stop or a deadline came before the method had anything true to answer with."""


class Explainer(Protocol):
    """One method made ready for one network, one background and one set of players.

    Built once and kept: what depends on the background alone is computed at construction. `explain` may be
    called from several threads at once and never changes the network.
    """

    method: ClassVar[str]

    def explain(self, rows: Inputs, outputs: torch.Tensor, limits: Limits) -> Attribution:
        """Attribute `outputs`, (R, K) int64 column numbers, one line a row, at `rows`.

        Raises UnsupportedNetwork for a non-finite activation, Stopped as described there.
        """
        ...
