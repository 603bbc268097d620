"""Explanations of rows as notebooks use them: arrays, a DataFrame, a shap.Explanation, a picture.

It needs neither torch nor keras. shap, pandas and matplotlib are imported when they are asked for.
Shapes: R rows, K outputs per row, E explained elements per row (features, groups of features, pixels, steps, tokens).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    import shap

Draw = Callable[["Explanation"], tuple[str, str]]
"""A one-row, one-output explanation → its picture as SVG, and the same in one sentence."""
# Fields of an Explanation with one item for each row.
FURTHER = ("reasons", "similar", "more_unusual_share", "out_of_range")
ELEMENTS = ("attributions", "errors", "row_values")
BY_OUTPUT = ("attributions", "errors", "interactions", "tree", "base", "predicted")
BY_ROW = ("outputs", "row_values", *BY_OUTPUT, *FURTHER)


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """The explanations of R rows.

    outputs: for each row, the names of the outputs explained, at most K. Where a row has fewer, the arrays have NaN.
    attributions: (R, K, E) float64, on `scale`; of text, one array (K, tokens of that row) per row.
    errors: the standard errors of `attributions`, in the same form; None if the method does not sample.
    interactions: (R, K, E, E) if they were asked for: half of each pair's interaction, main effects on the diagonal.
    tree: with the method owen, by row and output: the groups of players, each with its members, value and error.
    base, predicted: (R, K), the mean output over the background, and the output of each row.
    row_values: (R, E) or (R, *shape), the values of the rows themselves; of text, one array of tokens per row.
    shape: of a single image, series or tensor; None if the elements have names of their own.
    facts: what is the same for all rows: method, method_reason, scale, background and others.
    reasons, similar, more_unusual_share, out_of_range: by row, what /explain answers; None if no row has it.
    """

    outputs: tuple[tuple[str, ...], ...]
    attributions: Any
    base: np.ndarray
    predicted: np.ndarray
    row_values: Any
    names: tuple[str, ...] | None
    shape: tuple[int, ...] | None = None
    errors: Any = None
    interactions: np.ndarray | None = None
    tree: Sequence[Sequence[Any]] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    reasons: Sequence[Any] | None = None
    similar: Sequence[Any] | None = None
    more_unusual_share: Sequence[Any] | None = None
    out_of_range: Sequence[Any] | None = None
    draw: Draw | None = None
    numbers: tuple[int, ...] = ()  # the rows' numbers in the explanation that these rows were selected from

    # -- what was explained, and how ------------------------------------------------------------------

    @property
    def method(self) -> str:
        return str(self.facts["method"])

    @property
    def method_reason(self) -> str | None:
        """Why this method was used. None if it was asked for."""
        reason: str | None = self.facts.get("method_reason")
        return reason

    @property
    def scale(self) -> str:
        """The scale of values, base values and attributions: output, log_odds, log_ratio or difference."""
        return str(self.facts.get("scale", "output"))

    @property
    def reliable(self) -> bool:
        """False if the certificate advises against the method; facts["reliable_reason"] says why."""
        return bool(self.facts.get("reliable", True))

    @property
    def feature_names(self) -> list[str] | None:
        """The names of the explained elements. None of text, whose tokens differ from row to row."""
        return None if self.names is None else list(self.names)

    @property
    def output_names(self) -> list[str] | None:
        """The outputs explained, if they are the same for every row; else None, see `outputs`."""
        return list(self.outputs[0]) if len(set(self.outputs)) == 1 else None

    @property
    def _known(self) -> str:
        """The outputs explained of any row, for messages."""
        return ", ".join(dict.fromkeys(each for names in self.outputs for each in names))

    # -- numbers --------------------------------------------------------------------------------------

    @property
    def values(self) -> Any:
        """Attributions: (R, E), or (R, *shape) of an image, series or tensor. With several outputs they come last."""
        return self._shaped(self.attributions)

    @property
    def standard_errors(self) -> Any:
        """The standard errors of `values`, in the same form. None if the method does not sample."""
        return None if self.errors is None else self._shaped(self.errors)

    @property
    def interaction_values(self) -> np.ndarray | None:
        """(R, E, E), with several outputs (R, E, E, K): each row of a matrix sums to the attribution in `values`."""
        if self.interactions is None:
            return None
        return np.moveaxis(self.interactions, 1, -1) if self.base.shape[1] > 1 else self.interactions[:, 0]

    @property
    def base_values(self) -> np.ndarray:
        """(R,), or (R, K) with several outputs: the mean output over the background."""
        return self._per_output(self.base)

    @property
    def predictions(self) -> np.ndarray:
        """(R,), or (R, K) with several outputs: the outputs of the rows."""
        return self._per_output(self.predicted)

    @property
    def residuals(self) -> np.ndarray:
        """predictions − base_values − the sum of the attributions, in the form of base_values."""
        return self._per_output(self.predicted - self.base - self._sums())

    @property
    def data(self) -> Any:
        """The rows that were explained, in the form of `values` without its outputs."""
        return self.row_values

    # -- rows -----------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.outputs)

    def __getitem__(self, rows: int | slice) -> "Explanation":
        """Some of the rows; one row if `rows` is a number."""
        if not isinstance(rows, slice):
            place = range(len(self))[rows]
            rows = slice(place, place + 1)
        by_row = {name: each[rows] for name in BY_ROW if (each := getattr(self, name)) is not None}
        return replace(self, **by_row, numbers=tuple((self.numbers or range(len(self)))[rows]))

    def output(self, name: str) -> "Explanation":
        """One of the outputs. Raises ValueError if it was not explained for every row."""
        places = [names.index(name) if name in names else None for names in self.outputs]
        if None in places:
            raise ValueError(
                f'"{name}" was not explained for every row; explained outputs: {self._known};'
                f' explain again with outputs=["{name}"]'
            )
        return self._at([int(place or 0) for place in places])

    def first_output(self) -> "Explanation":
        """The first output of each row."""
        return self._at([0] * len(self))

    def _at(self, places: Sequence[int]) -> "Explanation":
        def pick(values: Any) -> Any:
            picked = [row[place : place + 1] for row, place in zip(values, places, strict=True)]
            if not isinstance(values, np.ndarray):
                return picked
            return ragged(picked) if self.names is None and values.dtype == object else np.stack(picked)

        outputs = tuple(names[place : place + 1] for names, place in zip(self.outputs, places, strict=True))
        numbers = {name: pick(each) for name in BY_OUTPUT if (each := getattr(self, name)) is not None}
        return replace(self, outputs=outputs, **numbers)

    def ordered(self, places: np.ndarray) -> "Explanation":
        """The elements in another order. places: (E,). The elements must have names of their own."""
        assert self.names is not None, "every row has the same elements"
        found = {name: each[..., places] for name in ELEMENTS if (each := getattr(self, name)) is not None}
        if self.interactions is not None:
            found["interactions"] = self.interactions[..., places, :][..., places]
        return replace(self, names=tuple(self.names[place] for place in places), **found)

    # -- other forms ----------------------------------------------------------------------------------

    def to_frame(self) -> "pd.DataFrame":
        """One line per row and output, with the columns of the files that `whyserve explain` writes."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame(self._lines()).set_index("row")

    def _lines(self) -> Iterator[dict[str, Any]]:
        residuals = self.predicted - self.base - self._sums()
        for row, names in enumerate(self.outputs):
            elements = self.names or tuple(f"{number}:{token}" for number, token in enumerate(self.row_values[row]))
            for place, output in enumerate(names):
                line = {"row": (self.numbers or range(len(self)))[row], "output": output}
                line |= {"value": self.predicted[row, place], "base_value": self.base[row, place]}
                line |= {"residual": residuals[row, place]}
                for column, values in (("attribution", self.attributions), ("standard_error", self.errors)):
                    if values is not None:
                        line |= {f"{column}.{name}": x for name, x in zip(elements, values[row][place], strict=True)}
                yield line

    def to_shap(self, output: str | None = None, *, interactions: bool = False) -> "shap.Explanation":
        """The same for shap.plots. Of several outputs, all (they come last), or the one named.

        interactions: the values are those of pairs, (rows, features, features), as of shap's TreeExplainer.
        Raises ValueError if the rows explain different outputs: their values must not be drawn together.
        """
        import shap  # noqa: PLC0415

        one = self if output is None else self.output(output)
        names = one.output_names
        if names is None:
            raise ValueError(
                f"the rows explain different outputs ({one._known}), which cannot be drawn together;"
                " name one that was explained for every row, or select rows, as in explanation[0]"
            )
        values, base, label = one.values, one.base_values, names[0] if len(names) == 1 else names
        if interactions:
            if one.interaction_values is None:
                raise ValueError("the explanation has no interactions; explain again with interactions=True")
            values = one.interaction_values
        elif one.shape is not None and len(names) == 1:
            # shap's picture of an image needs an axis of outputs, last.
            values, base, label = values[..., None], base[:, None], names
        features = None if one.shape is not None else one.feature_names
        return shap.Explanation(values, base_values=base, data=one.data, feature_names=features, output_names=label)

    def _repr_html_(self) -> str:
        """The picture of the first row with an explained output, and its sentence; a table of numbers if there is no
        picture.
        """
        number = next((number for number, names in enumerate(self.outputs) if names), 0)
        first = self[number].first_output()
        more = f"<p>{len(self)} rows; this is row {number}.</p>" if len(self) > 1 else ""
        if self.draw is None:
            return str(first.to_frame().T.to_html()) + more
        picture, sentence = self.draw(first)
        return f"{picture}<p>{sentence}</p>{more}"

    def __repr__(self) -> str:
        names = self.output_names
        explained = ", ".join(names[:8]) if names else "each row's own outputs"
        worst = float(np.nan_to_num(np.abs(self.predicted - self.base - self._sums())).max())
        doubt = "" if self.reliable else f"; do not rely on it: {self.facts['reliable_reason']}"
        return f"Explanation of {len(self)} rows by {self.method}: {explained}; largest residual {worst:.1e}{doubt}"

    # -- forms of arrays ------------------------------------------------------------------------------

    def _sums(self) -> np.ndarray:
        return np.array([row.sum(-1) for row in self.attributions])

    def _shaped(self, values: Any) -> Any:
        several = self.base.shape[1] > 1
        if self.names is None:
            return ragged([row.T if several else row[0] for row in values])
        shaped = values.reshape(*values.shape[:2], *(self.shape or values.shape[2:]))
        return np.moveaxis(shaped, 1, -1) if several else shaped[:, 0]

    def _per_output(self, table: np.ndarray) -> np.ndarray:
        return table if table.shape[1] > 1 else table[:, 0]


def ragged(rows: Sequence[np.ndarray]) -> np.ndarray:
    """One array per row, of different lengths."""
    made = np.empty(len(rows), object)
    for number, row in enumerate(rows):
        made[number] = row
    return made
