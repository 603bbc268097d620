"""The outputs of a network, described from its output for the background."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from whyserve.errors import ModelFault
from whyserve.export.package.trials import Tried
from whyserve.export.rows import output_not_finite


def describe_output(
    tried: Tried,
    labels: Sequence[str],
    names: Sequence[str],
    unit: str | None = None,
    *,
    task: str | None = None,
    thresholds: Mapping[str, float] | Sequence[float] | float | None = None,
    numbered: bool = False,
) -> dict[str, Any]:
    """`task` and `output` of model.toml. thresholds: of multilabel, for each label or for all. numbered: whether
    outputs without names get numbers, if they may be anything. Raises ModelFault.
    """
    table, columns = tried.table, tried.table.shape[1]
    if not (finite := np.isfinite(table).all(axis=1)).all():
        raise ModelFault(output_not_finite(f"row {int(finite.argmin())} of the background"))
    labels, names = stated_labels(tried.network, columns, labels, names), list(map(str, names))
    in_unit_interval = bool(((table >= 0) & (table <= 1)).all())
    if task == "multilabel" and not labels:
        raise ModelFault(f'task="multilabel" needs labels=[…], one for each of the {columns} outputs')
    if not labels and not names:
        labels, names = _default_names(table, in_unit_interval, numbered=numbered)
    given = labels or names
    if len(given) != columns and not (columns == 1 and len(labels) == 2 and task != "multilabel"):
        what = "labels" if labels else "names"
        raise ModelFault(
            f"{what} has {len(given)} entries, but the network has {columns} outputs; name each output once"
        )
    if labels:
        output: dict[str, Any] = {"labels": labels, "scores": "probabilities" if in_unit_interval else "logits"}
        if thresholds is not None:
            output["thresholds"] = _thresholds(thresholds, labels)
    else:
        output = {"names": names, **({"unit": unit} if unit else {}), "scores": "values"}
    if hasattr(tried.network, "tensor"):
        output["tensor"] = tried.network.tensor
    return {"task": task or ("classification" if labels else "regression"), "output": output}


def _thresholds(thresholds: Mapping[str, float] | Sequence[float] | float, labels: Sequence[str]) -> list[float]:
    """The threshold of each label. A label that a mapping leaves out has 0.5."""
    if isinstance(thresholds, Mapping):
        if unknown := set(thresholds) - set(labels):
            raise ModelFault(f'thresholds: unknown label "{min(unknown)}"; labels: {", ".join(labels)}')
        return [float(thresholds.get(label, 0.5)) for label in labels]
    several = thresholds if isinstance(thresholds, Sequence) else [thresholds] * len(labels)
    return [float(each) for each in several]


def stated_labels(network: Any, columns: int, labels: Sequence[str], names: Sequence[str]) -> list[str]:
    """The caller's labels, or else the labels that the network states itself, as ONNX classifiers do, if they fit.

    Raises ModelFault if both are the same labels in different orders.
    """
    given, stated = list(map(str, labels)), list(getattr(network, "labels", ()))
    if given != stated and sorted(given) == sorted(stated):
        raise ModelFault(f"the order of the labels in the model is {', '.join(stated)}; give labels in this order")
    fits = not names and (len(stated) == columns or (columns == 1 and len(stated) == 2))
    return given or (stated if fits else [])


def _default_names(table: np.ndarray, in_unit_interval: bool, *, numbered: bool) -> tuple[list[str], list[str]]:
    """(labels, names) if the output shows what it is: probabilities that sum to 1, or one value."""
    columns = table.shape[1]
    if columns > 1 and in_unit_interval and np.allclose(table.sum(1), 1, atol=1e-4):
        return [str(i) for i in range(columns)], []
    if numbered:
        return [], ["value"] if columns == 1 else [f"output_{number}" for number in range(columns)]
    if columns > 1:
        raise ModelFault(
            f"the network returns {columns} numbers per row; name them with labels=[…] for a classification,"
            ' labels=[…] and task="multilabel" if several can be on together, or names=[…] for a regression'
        )
    if in_unit_interval:
        raise ModelFault(
            "the network returns one number between 0 and 1 per row; give labels=[negative, positive] for a"
            " classification or names=[…] for a regression"
        )
    return [], ["value"]
