"""Predictions for notebooks: a list of answers, and a DataFrame."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd


class Predictions(list[dict[str, Any]]):
    """One answer per row, as /predict gives it: label or labels and scores, a value, or values by name."""

    def to_frame(self) -> "pd.DataFrame":
        """One line per row: label and one column per score; or one column per value."""
        import pandas as pd  # noqa: PLC0415

        return pd.DataFrame([_flat(answer) for answer in self])

    def _repr_html_(self) -> str:
        return str(self.to_frame()._repr_html_())


def _flat(answer: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: value for key, value in answer.items() if not isinstance(value, Mapping)}
    for part in ("scores", "values"):
        flat |= {str(name): value for name, value in answer.get(part, {}).items()}
    return flat
