"""The columns that a network returns and the named outputs of a model.

Two labels can share one column: the score of the second, positive label is the column itself, and the score of the
first label is its complement (1 − p for a probability p, −z for a logit z).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.errors import UnknownLabel
from whyserve.model.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Output:
    """score = offset + sign × column. An attribution is sign × the attribution of the column."""

    name: str
    column: int
    sign: int = 1
    offset: float = 0.0


class Outputs:
    """The named outputs of one model."""

    def __init__(self, spec: ModelSpec, columns: int) -> None:
        names = spec.output_names
        if columns == 1 and len(names) == 2:
            complement = 1.0 if spec.output.scores == "probabilities" else 0.0
            self.all: tuple[Output, ...] = (Output(names[0], 0, -1, complement), Output(names[1], 0))
        else:
            self.all = tuple(Output(name, column) for column, name in enumerate(names))
        self._by_name = {output.name: output for output in self.all}
        self._is_classification = spec.task == "classification"
        self._one_column_each = len(self.all) == columns
        self.names = names

    def named(self, names: Sequence[str]) -> list[Output]:
        return [self._by_name[name] for name in names]

    def scores(self, table: np.ndarray) -> np.ndarray:
        """The network's columns, (rows, columns) → the scores of the named outputs, (rows, outputs)."""
        if self._one_column_each:
            return table
        return np.stack([output.offset + output.sign * table[:, output.column] for output in self.all], axis=1)

    def predictions(self, table: np.ndarray) -> list[dict[str, Any]]:
        """The network's columns, (rows, columns) → one prediction per row, as /predict answers it."""
        rows = self.scores(table).tolist()
        if self._is_classification:
            return [
                {"label": self.names[row.index(max(row))], "scores": dict(zip(self.names, row, strict=True))}
                for row in rows
            ]
        if len(self.names) == 1:
            return [{"value": row[0]} for row in rows]
        return [{"values": dict(zip(self.names, row, strict=True))} for row in rows]

    def wanted(self, asked: str | Sequence[str], table: np.ndarray) -> list[list[Output]]:
        """The outputs to explain, one list per row. asked: "top", "all" or names of outputs.

        "top" means the predicted label of each row, or every output of a regression. Raises UnknownLabel.
        """
        if asked == "top" and self._is_classification:
            return [[self.all[best]] for best in self.scores(table).argmax(axis=1)]
        if isinstance(asked, str):
            return [list(self.all)] * len(table)
        for position, name in enumerate(asked):
            if name not in self._by_name:
                place = f"outputs[{position}]"
                raise UnknownLabel(
                    f"{place}: unknown output; available outputs: {', '.join(self.names[:20])}", field=place
                )
        return [self.named(list(dict.fromkeys(asked)))] * len(table)
