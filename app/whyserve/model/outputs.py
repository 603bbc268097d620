"""Columns that a network returns ⇄ outputs as people name them.

Two labels on a single output share it: the second label is the positive one and has the column itself, the
first has its complement (1 − p of a probability, −z of a logit).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.errors import UnknownLabel
from whyserve.model.spec import ModelSpec


@dataclass(frozen=True, slots=True)
class Output:
    """score = offset + sign × column; an attribution or a difference is sign × its column's."""

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
        self._direct = len(self.all) == columns
        self.names = names

    def scores(self, table: np.ndarray) -> np.ndarray:
        """(rows, columns) of the network → (rows, outputs) as named."""
        if self._direct:
            return table
        return np.stack([output.offset + output.sign * table[:, output.column] for output in self.all], axis=1)

    def predictions(self, table: np.ndarray) -> list[dict[str, Any]]:
        """(rows, columns) of the network → one answer a row, as /predict gives it."""
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
        """The outputs to explain, a list a row; "top" is the label predicted, or all of a regression's names.

        Raises UnknownLabel.
        """
        if asked == "top" and self._is_classification:
            return [[self.all[best]] for best in self.scores(table).argmax(axis=1)]
        if isinstance(asked, str):
            return [list(self.all)] * len(table)
        for position, name in enumerate(asked):
            if name not in self._by_name:
                known = ", ".join(self.names[:20])
                raise UnknownLabel(
                    f"outputs[{position}]: the model has no such output; it has {known}", field=f"outputs[{position}]"
                )
        chosen = [self._by_name[name] for name in dict.fromkeys(asked)]
        return [chosen] * len(table)
