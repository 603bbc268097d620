"""The outputs of a network, described from its output for the background."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from whyserve.errors import ModelFault
from whyserve.export.rows import output_not_finite


def describe_output(table: np.ndarray, labels: Sequence[str], names: Sequence[str], unit: str | None) -> dict[str, Any]:
    """[output] of model.toml. table: the output of the network for the background, (rows,) or (rows, outputs).

    Raises ModelFault.
    """
    if table.ndim > 2:
        raise ModelFault(f"the network returns shape {table.shape} for {len(table)} rows; (rows, outputs) is needed")
    columns = 1 if table.ndim == 1 else table.shape[1]
    table = table.reshape(len(table), columns)
    if not np.isfinite(table).all():
        row = int((~np.isfinite(table).all(axis=1)).argmax())
        raise ModelFault(output_not_finite(f"row {row} of the background"))
    in_unit_interval = bool(((table >= 0) & (table <= 1)).all())
    if not labels and not names:
        labels, names = _default_names(table, in_unit_interval)
    given = labels or names
    if len(given) != columns and not (columns == 1 and len(labels) == 2):
        what = "labels" if labels else "names"
        raise ModelFault(
            f"{what} has {len(given)} entries, but the network has {columns} outputs; name each output once"
        )
    if labels:
        return {"labels": labels, "scores": "probabilities" if in_unit_interval else "logits"}
    return {"names": names, **({"unit": unit} if unit else {}), "scores": "values"}


def stated_labels(network: Any, table: np.ndarray, labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """The caller's labels, or else the labels that the network states itself, as ONNX classifiers do, if they fit.

    Raises ModelFault if both are the same labels in different orders.
    """
    given, stated = list(map(str, labels)), list(getattr(network, "labels", ()))
    if given != stated and sorted(given) == sorted(stated):
        raise ModelFault(f"the order of the labels in the model is {', '.join(stated)}; give labels in this order")
    columns = 1 if table.ndim == 1 else table.shape[1]
    fits = not names and (len(stated) == columns or (columns == 1 and len(stated) == 2))
    return given or (stated if fits else [])


def _default_names(table: np.ndarray, in_unit_interval: bool) -> tuple[list[str], list[str]]:
    """(labels, names) if the output shows what it is: probabilities that sum to 1, or one value."""
    columns = table.shape[1]
    if columns > 1 and in_unit_interval and np.allclose(table.sum(1), 1, atol=1e-4):
        return [str(i) for i in range(columns)], []
    if columns > 1:
        raise ModelFault(
            f"the network returns {columns} numbers per row; name them with labels=[…] for a classification"
            " or names=[…] for a regression"
        )
    if in_unit_interval:
        raise ModelFault(
            "the network returns one number between 0 and 1 per row; give labels=[negative, positive] for a"
            " classification or names=[…] for a regression"
        )
    return [], ["value"]
