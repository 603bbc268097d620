"""The columns that a network returns and the named outputs of a model.

Two labels can share one column: the score of the second, positive label is the column itself, and the score of the
first label is its complement (1 − p for a probability p, −z for a logit z).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, UnknownLabel
from whyserve.model.rows import fault_in
from whyserve.model.scale import Scale
from whyserve.model.spec import ModelSpec

NOTHING_ON = 'no label of these rows is on, so there is nothing to explain; ask for the outputs "top" or "all"'

ITSELF = 'the output to explain is "instead_of" itself, the most likely label; name another label in "outputs"'


@dataclass(frozen=True, slots=True)
class Output:
    """score = offset + sign × column. An attribution is sign × the attribution of the column."""

    name: str
    column: int
    sign: int = 1
    offset: float = 0.0


class Outputs:
    """The named outputs of one model."""

    def __init__(self, spec: ModelSpec, columns: int, scale: Scale | None = None) -> None:
        """scale: of the columns. On another scale than the output's, the complement of a column is its negative."""
        names = spec.output_names
        if columns == 1 and len(names) == 2:
            complement = 1.0 if spec.output.scores == "probabilities" and scale is None else 0.0
            self.all: tuple[Output, ...] = (Output(names[0], 0, -1, complement), Output(names[1], 0))
        else:
            self.all = tuple(Output(name, column) for column, name in enumerate(names))
        self._by_name = {output.name: output for output in self.all}
        self._task, self._keywords = spec.task, spec.output_keywords
        thresholds = np.array(spec.output.thresholds or [0.5] * len(names))
        is_logit = spec.output.scores == "logits"
        self._thresholds = np.log(thresholds / (1 - thresholds)) if is_logit else thresholds
        self._one_column_each = len(self.all) == columns
        self.names = names

    def named(self, names: Sequence[str]) -> list[Output]:
        return [self._by_name[name] for name in names]

    def scores(self, table: np.ndarray) -> np.ndarray:
        """The network's columns, (rows, columns) → the scores of the named outputs, (rows, outputs)."""
        if self._one_column_each:
            return table
        return np.stack([output.offset + output.sign * table[:, output.column] for output in self.all], axis=1)

    def on(self, table: np.ndarray) -> np.ndarray:
        """(rows, outputs) bool: the labels of each row. A classification has the most likely one; multilabel has each
        label whose probability is at least its threshold.
        """
        scores = self.scores(table)
        if self._task == "multilabel":
            return np.asarray(scores >= self._thresholds.astype(scores.dtype))
        return np.asarray(scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1]))

    def margins(self, name: str, table: np.ndarray, threshold: float | None = None) -> np.ndarray:
        """(rows,): how far each row is from the decision about an output; 0 or more where it is made.

        It is made where the output is at least `threshold`; by default, where a label is the most likely one or is on.
        """
        scores, place = self.scores(table), self.names.index(name)
        if threshold is None and self._task == "multilabel":
            threshold = self._thresholds[place]
        if threshold is not None:
            return np.asarray(scores[:, place] - np.asarray(threshold, scores.dtype))
        return np.asarray(scores[:, place] - np.delete(scores, place, axis=1).max(axis=1))

    def predictions(self, table: np.ndarray) -> list[dict[str, Any]]:
        """The network's columns, (rows, columns) → one prediction per row, as /predict answers it."""
        rows = self.scores(table).tolist()
        if self._task == "multilabel":
            return [
                {
                    "labels": [self.names[place] for place in np.flatnonzero(on)],
                    "scores": dict(zip(self.names, row, strict=True)),
                }
                for on, row in zip(self.on(table), rows, strict=True)
            ]
        if self._task == "classification":
            names = self.names
            return [{"label": names[row.index(max(row))], "scores": dict(zip(names, row))} for row in rows]  # noqa: B905
        if len(self.names) == 1:
            return [{"value": row[0]} for row in rows]
        return [{"values": dict(zip(self.names, row, strict=True))} for row in rows]

    def wanted(
        self, asked: str | Sequence[str], table: np.ndarray, instead_of: str | None = None
    ) -> list[list[Output]]:
        """The outputs to explain, one list per row. asked: "top", "all", "positive", an output's name or several names.

        "top" means the most likely label of each row, or every output of a regression. "positive" means each label of
        multilabel that is on, so rows differ in their number of outputs. instead_of: the output that all are compared
        with; "all", "positive", and "top" of a regression leave it out.
        Raises UnknownLabel, and InvalidInput if `instead_of` itself would be explained.
        """
        if asked == "top" and self._task != "regression":
            best = self.scores(table).argmax(axis=1)
            for row in np.flatnonzero(best == self.names.index(instead_of)) if instead_of else ():
                raise fault_in("instances", int(row), ITSELF)
            return [[self.all[place]] for place in best]
        others = [output.name != instead_of for output in self.all]
        if asked == "positive" and asked in self._keywords:
            return [[self.all[place] for place in np.flatnonzero(on & others)] for on in self.on(table)]
        if isinstance(asked, str):
            if asked in self._keywords:
                return [[output for output in self.all if output.name != instead_of]] * len(table)
            asked = [asked]
        for position, name in enumerate(asked):
            place = f"outputs[{position}]"
            if name not in self._by_name:
                raise UnknownLabel(
                    f"{place}: unknown output; available outputs: {', '.join(self.names[:20])}", field=place
                )
            if name == instead_of:
                raise InvalidInput(f'{place}: the same output as "instead_of"; name two different outputs', field=place)
        return [self.named(list(dict.fromkeys(asked)))] * len(table)

    def including(self, wanted: list[list[Output]], name: str) -> list[list[Output]]:
        """Outputs to explain, with one more for each row that lacks it."""
        (more,) = self.named([name])
        return [row if more in row else [*row, more] for row in wanted]

    def columns(self, asked: str | Sequence[str], table: np.ndarray) -> list[list[int]]:
        """The columns of the wanted outputs, equally many for each row."""
        return same_length([[output.column for output in row] for row in self.wanted(asked, table)], 0)


def same_length(rows: Sequence[Sequence[Any]], fill: Any) -> list[list[Any]]:
    """Lists of one length, at least 1, for outputs of rows that differ in their number; shorter ones end in `fill`."""
    length = max(1, *map(len, rows))
    return [[*row, *[fill] * (length - len(row))] for row in rows]


def same_outputs(rows: Sequence[Sequence[Any]], fill: float) -> list[list[Any]]:
    """The explained outputs of an answer of /explain, equally many for each row. Rows with fewer get outputs without a
    name whose numbers are `fill`. Raises InvalidInput if no row has an explained output.
    """
    known = next((output for row in rows for output in row), None)
    if known is None:
        raise InvalidInput(NOTHING_ON)
    length = max(map(len, rows))
    return [[*row, *[{**_filled(row[0] if row else known, fill), "output": ""}] * (length - len(row))] for row in rows]


def _filled(value: Any, fill: float) -> Any:
    if isinstance(value, Mapping):
        return {key: _filled(part, fill) for key, part in value.items()}
    if isinstance(value, list):
        return [_filled(part, fill) for part in value]
    return fill if isinstance(value, float) else value
