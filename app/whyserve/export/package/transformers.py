"""Fitted scikit-learn transformers, read without scikit-learn: the raw column of each output, and how it is computed.

A reading is an array, (6, outputs) float64, with the rows SOURCE (the place of the raw column) to FILL:
output = clip(raw · scale + shift, low, high), or `fill` if raw is NaN. The scale of an output of an encoder is NaN.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput

SOURCE, SCALE, SHIFT, LOW, HIGH, FILL = range(6)
# The categories of each encoded raw column, by place. Readers add to it.
Encoded = dict[int, list[Any]]


def raw_columns(count: int) -> np.ndarray:
    """The reading before the first transformer."""
    return np.stack([np.arange(count), *np.outer([1, 0, -np.inf, np.inf, np.nan], np.ones(count))])


def read_transformer(fitted: Any, columns: np.ndarray, encoded: Encoded) -> np.ndarray:
    """The reading after a transformer. Raises InvalidInput for one that READERS lacks, and for some options."""
    if fitted is None or isinstance(fitted, str):
        return columns[:, :0] if fitted == "drop" else columns
    kind = type(fitted).__name__
    if kind not in READERS or not type(fitted).__module__.startswith("sklearn."):
        way = f"apply {kind} to the rows before package, or make it a part of the network"
        if hasattr(fitted, "predict"):
            way = "give the steps before it, such as pipeline[:-1]"
        raise InvalidInput(f"preprocess: {kind} cannot become layers, only {', '.join(READERS)}; {way}")
    return READERS[kind](fitted, columns, encoded)


def _refuse(fitted: Any, option: str, way: str) -> None:
    raise InvalidInput(f"preprocess: {type(fitted).__name__} with {option} cannot become layers; {way}")


def _is_gap(value: Any) -> bool:
    return value is None or str(value) in {"nan", "<NA>"}


def _scaled(columns: np.ndarray, scale: Any, shift: Any, bounds: tuple[float, float] | None) -> np.ndarray:
    """scale: positive, as all of scikit-learn's."""
    columns = columns.copy()
    columns[SCALE:] *= scale
    columns[SHIFT:] += shift
    if bounds:
        columns[LOW:] = np.clip(columns[LOW:], *bounds)
    return columns


def _min_max(fitted: Any, columns: np.ndarray, _: Encoded) -> np.ndarray:
    return _scaled(columns, fitted.scale_, fitted.min_, fitted.feature_range if fitted.clip else None)


def _scaler(fitted: Any, columns: np.ndarray, _: Encoded) -> np.ndarray:
    """StandardScaler, RobustScaler and MaxAbsScaler."""
    scale = 1.0 if fitted.scale_ is None else fitted.scale_
    center = fitted.mean_ if getattr(fitted, "with_mean", False) else getattr(fitted, "center_", None)
    bounds = (-1, 1) if getattr(fitted, "clip", False) else None
    return _scaled(columns, 1 / scale, 0.0 if center is None else -center / scale, bounds)


def _imputer(fitted: Any, columns: np.ndarray, _: Encoded) -> np.ndarray:
    if fitted.add_indicator:
        _refuse(fitted, "add_indicator=True", "leave the indicators out")
    if not _is_gap(fitted.missing_values):
        _refuse(fitted, f"missing_values={fitted.missing_values!r}", "let NaN or None stand for a missing value")
    # The statistic of a text column is a text. An encoder follows.
    statistics = [value if isinstance(value, int | float | np.number) else 0 for value in fitted.statistics_]
    columns = columns.copy()
    columns[FILL] = np.where(np.isnan(columns[FILL]), np.array(statistics, float), columns[FILL])
    return columns if fitted.keep_empty_features else columns[:, [not _is_gap(value) for value in fitted.statistics_]]


def _encoder(fitted: Any, columns: np.ndarray, encoded: Encoded) -> np.ndarray:
    """OneHotEncoder and OrdinalEncoder."""
    for (source, scale, shift, *bounds, _), known in zip(columns.T, fitted.categories_, strict=True):
        if np.isnan(scale):
            continue  # A request has the categories of the first encoder.
        if (scale, shift) != (1, 0) or np.isfinite(bounds).any():
            _refuse(fitted, "scaled numbers", "let the encoder take the raw column")
        categories = [value for value in known if not _is_gap(value)]
        if encoded.setdefault(int(source), categories) != categories:
            _refuse(fitted, "other categories than another encoder of the column", "give both the same categories")
    counts = getattr(fitted, "_n_features_outs", np.ones(columns.shape[1], int))
    columns = columns[:, np.repeat(np.arange(columns.shape[1]), counts)]
    columns[SCALE] = np.nan
    return columns


def _function(fitted: Any, columns: np.ndarray, _: Encoded) -> np.ndarray:
    if fitted.func is not None:
        _refuse(fitted, "a function", "apply the function to the rows before package, or make it a part of the network")
    return columns


def _pipeline(fitted: Any, columns: np.ndarray, encoded: Encoded) -> np.ndarray:
    for _, step in fitted.steps:
        columns = read_transformer(step, columns, encoded)
    return columns


def _by_column(fitted: Any, columns: np.ndarray, encoded: Encoded) -> np.ndarray:
    if fitted.transformer_weights:
        _refuse(fitted, "transformer_weights", "give a scaler to the columns")
    made = [columns[:, :0]]
    for name, each, _ in fitted.transformers_:
        # scikit-learn does not fit a transformer without columns.
        if places := list(fitted._transformer_to_input_indices[name]):
            made.append(read_transformer(each, columns[:, places], encoded))
    return np.concatenate(made, axis=1)


READERS: Mapping[str, Callable[[Any, np.ndarray, Encoded], np.ndarray]] = {
    "StandardScaler": _scaler,
    "MinMaxScaler": _min_max,
    "MaxAbsScaler": _scaler,
    "RobustScaler": _scaler,
    "SimpleImputer": _imputer,
    "OneHotEncoder": _encoder,
    "OrdinalEncoder": _encoder,
    "ColumnTransformer": _by_column,
    "Pipeline": _pipeline,
    "FunctionTransformer": _function,
}
