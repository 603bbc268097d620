"""`preprocess=`: a fitted scikit-learn transformer becomes layers in front of the network, so that requests carry raw
values. Neither scikit-learn nor pandas is imported: the objects are the caller's.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.export.package.background import check_columns, check_order, codes_of, read_background
from whyserve.export.package.given import is_frame
from whyserve.export.package.operations import Operations
from whyserve.export.package.transformers import (
    FILL,
    HIGH,
    LOW,
    SCALE,
    SHIFT,
    SOURCE,
    Encoded,
    raw_columns,
    read_transformer,
)
from whyserve.export.package.trials import try_background
from whyserve.model.rows import Arrays, RowReader, as_row
from whyserve.model.spec import ModelSpec

# The inputs of a network with layers in front. The keys of an instance are the names of the raw columns.
NUMBERS, CATEGORIES = "numbers", "categories"
# The largest difference from scikit-learn: a share of the largest value of a column, and a number for a column near 0.
BOUND, LEAST = 1e-6, 1e-9
# Numbers in a table of (categories, outputs): about 4000 categories of a OneHotEncoder.
MOST_NUMBERS = 1 << 24


@dataclass(frozen=True, slots=True, eq=False)
class Front:
    """The layers in front of a network, as numbers. They take NUMBERS, (rows, columns), and CATEGORIES, codes.

    rows: the raw rows of the background, a DataFrame or an array. arrays: the same by input.
    features: the raw columns of each input, as in model.toml. unused: the other raw columns.
    steps: how the outputs that come from a number are computed, see transformers.py; the source is a place in NUMBERS.
    tables: of each column of CATEGORIES, (categories, outputs).
    order: (outputs,), where each output is among the outputs from numbers, followed by those from each table.
    """

    fitted: Any
    rows: Any
    arrays: Arrays
    features: dict[str, list[dict[str, Any]]]
    unused: list[str]
    steps: np.ndarray
    tables: list[np.ndarray]
    order: np.ndarray

    @classmethod
    def of(cls, fitted: Any, background: Any, names: Any = None) -> "Front":
        """background: raw rows. names: of the columns of an array. Raises InvalidInput."""
        if isinstance(background, Mapping) and len(background) == 1:
            (background,) = background.values()
        rows = background.rename(columns=str) if is_frame(background) else np.asarray(background)
        names = _names(fitted, rows, names)
        encoded: Encoded = {}
        try:
            steps = read_transformer(fitted, raw_columns(len(names)), encoded)
        except AttributeError as error:
            raise InvalidInput(f"preprocess cannot be read: {error}; fit it with scikit-learn 1.1 or later") from error
        if not steps.size:
            raise InvalidInput("preprocess drops every column; give the transformer that the network was trained with")
        used = np.unique(steps[SOURCE].astype(int)).tolist()
        numbers, categories = [p for p in used if p not in encoded], [p for p in used if p in encoded]
        features = {
            NUMBERS: [{"name": names[place]} for place in numbers],
            CATEGORIES: [{"name": names[p], "categories": list(map(str, encoded[p]))} for p in categories],
        }
        arrays = _arrays(rows, features, numbers + categories)
        outputs = [np.flatnonzero(np.isin(steps[SOURCE], numbers))]
        tables = []
        for place in categories:
            if len(encoded[place]) * steps.shape[1] > MOST_NUMBERS:
                raise InvalidInput(
                    f'preprocess encodes "{names[place]}" with {len(encoded[place])} categories, too many for'
                    f" {steps.shape[1]} columns; put rare ones together (min_frequency), or use an OrdinalEncoder"
                )
            outputs.append(np.flatnonzero(steps[SOURCE] == place))
            tables.append(_table(fitted, rows, names[place], place, encoded[place])[:, outputs[-1]])
        steps = steps[:, outputs[0]]
        steps[SOURCE] = np.searchsorted(numbers, steps[SOURCE])
        unused = [name for place, name in enumerate(names) if place not in used]
        order = np.argsort(np.concatenate(outputs))
        return cls(fitted, rows, arrays, {n: features[n] for n in arrays}, unused, steps, tables, order)

    @property
    def inputs(self) -> dict[str, tuple[str, tuple[int, ...]]]:
        """The dtype of each input, and the shape of a row."""
        return {name: (str(array.dtype), array.shape[1:]) for name, array in self.arrays.items()}

    def applied(self, inputs: Mapping[str, Any], operations: Operations, dtype: str) -> Any:
        """The layers: the input of the network, (rows, outputs) of `dtype`, computed from tensors by input."""
        parts, steps = [], operations.constant(self.steps)
        has_bounds, has_fill = (np.isfinite(self.steps[rows]).any() for rows in ([LOW, HIGH], FILL))
        if self.steps.size:
            x = operations.take(inputs[NUMBERS], self.steps[SOURCE].astype(int).tolist()) * steps[SCALE] + steps[SHIFT]
            x = operations.clip(x, steps[LOW], steps[HIGH]) if has_bounds else x
            parts.append(operations.fill(x, steps[FILL]) if has_fill else x)
        for number, table in enumerate(self.tables):
            parts.append(operations.lookup(table, inputs[CATEGORIES][:, number]))
        return operations.cast(operations.take(operations.join(parts), self.order.tolist()), dtype)

    def input_dtype(self, network: Any) -> str:
        """The dtype in which a network takes the outputs. Raises InvalidInput, ModelFault."""
        if len(network.names) != 1:
            raise InvalidInput(
                f"preprocess returns one table, but the network has the inputs {', '.join(network.names)};"
                " give the network one input, and take its columns apart inside"
            )
        table = transformed(self.fitted, self.rows[:2])
        faults = []
        for given in [table, table.astype(np.int64)][: 1 + bool((table % 1 == 0).all())]:
            try:
                return str(try_background(network, given).arrays[network.names[0]].dtype)
            except InvalidInput as fault:
                faults.append(fault)
        words = f"preprocess returns {table.shape[1]} columns, and the network does not take them"
        raise InvalidInput(f"{words}: {faults[0].message}") from faults[0]

    def read(self, *given: Any) -> tuple[Arrays, dict[str, list[dict[str, Any]]]]:
        """Takes the arguments of read_background, and returns what it returns. Raises InvalidInput."""
        if given[-1]:
            raise InvalidInput("the encoders of preprocess state the categories; leave out the argument categories")
        return self.arrays, self.features

    def check(self, layers: Any, spec: ModelSpec, arrays: Arrays, kept: np.ndarray) -> str:
        """Compare the layers with scikit-learn on rows of the background that go the way of a request.

        layers: the layers alone, as a network. arrays: the rows. kept: their places in the given background.
        Returns a note for people. Raises ModelFault.
        """
        instances = [as_row(spec, arrays, row) for row in range(len(kept))]
        made = np.asarray(layers.run(RowReader(spec)(instances)), np.float64)
        right = transformed(self.fitted, self.rows.iloc[kept] if is_frame(self.rows) else self.rows[kept])
        if made.shape != right.shape or (np.abs(made - right) > BOUND * np.abs(right).max(0) + LEAST).any():
            raise ModelFault(
                "the layers made of preprocess differ from scikit-learn on the background; apply preprocess to the rows"
                " before package, and report the transformer"
            )
        unused = f"; requests do not carry {', '.join(self.unused)}" if self.unused else ""
        return (
            f"preprocess: {len(spec.keys)} raw columns become {made.shape[1]}, equal to scikit-learn's on {len(kept)}"
            f" rows{unused}"
        )


def transformed(fitted: Any, rows: Any) -> np.ndarray:
    """scikit-learn's own result, (rows, outputs) float64. Raises InvalidInput."""
    if is_frame(rows):
        own = getattr(fitted, "feature_names_in_", rows.columns)
        rows = rows[[name for name in own if name in rows.columns]]
        rows = rows.astype({n: "float64" for n, dtype in rows.dtypes.items() if dtype in {"float16", "float32"}})
    elif rows.dtype.kind == "f":
        rows = rows.astype(np.float64)  # scikit-learn computes in the dtype of the rows
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # names of columns that an array does not have
            result = fitted.transform(rows)
        return np.asarray(result.toarray() if hasattr(result, "toarray") else result, np.float64)
    except Exception as error:
        raise InvalidInput(f"preprocess fails on the background: {first_line(error)}") from error


def _names(fitted: Any, rows: Any, given: Any) -> list[str]:
    """The names of the raw columns that the transformer takes. A DataFrame may have more columns."""
    if rows.ndim != 2 or not len(rows):
        raise InvalidInput(f"the background has shape {rows.shape}; preprocess needs raw rows, (rows, columns)")
    names = [str(name) for name in getattr(fitted, "feature_names_in_", ())]
    if names and is_frame(rows):
        return names
    names = names or list(map(str, rows.columns if is_frame(rows) else given or ()))
    names = names or [f"x_{place}" for place in range(rows.shape[1])]
    count = getattr(fitted, "n_features_in_", rows.shape[1])
    if not count == rows.shape[1] == len(names):
        raise InvalidInput(
            f"preprocess was fitted on {count} columns, but the background has {rows.shape[1]} columns and {len(names)}"
            " names; give the raw rows, as they were before preprocessing"
        )
    return names


def _arrays(rows: Any, features: Mapping[str, list[dict[str, Any]]], places: list[int]) -> Arrays:
    """The raw rows by input: float64 numbers, int64 codes. An input without columns is left out. Raises InvalidInput.

    places: of all features among the raw columns, in their order.
    """
    names = [feature["name"] for each in features.values() for feature in each]
    if is_frame(rows) and (missing := [name for name in names if name not in rows.columns]):
        raise InvalidInput(f"the background lacks columns that preprocess was fitted on: {', '.join(missing)}")
    columns = {n: rows[n] if is_frame(rows) else rows[:, place] for n, place in zip(names, places, strict=True)}
    orders = {feature["name"]: feature["categories"] for feature in features[CATEGORIES]}
    numbers = {name: _numbers(column) for name, column in columns.items() if name not in orders}
    if text := [name for name, column in numbers.items() if column is None]:
        raise InvalidInput(
            f"preprocess does not encode the columns {', '.join(text)}, which do not hold numbers; give them a"
            ' OneHotEncoder or an OrdinalEncoder, or leave them out (remainder="drop")'
        )
    if is_frame(rows):
        check_columns(rows[names].infer_objects(), orders)
    for name, order in orders.items():
        check_order(name, columns[name], order)
    codes = [codes_of(columns[name], order) for name, order in orders.items()]
    made: dict[str, list[Any]] = {NUMBERS: list(numbers.values()), CATEGORIES: codes}
    arrays = {name: np.stack(columns, 1) for name, columns in made.items() if columns}
    return read_background(arrays, list(arrays), {})[0]


def _numbers(column: Any) -> np.ndarray | None:
    try:
        return np.asarray(column, np.float64)
    except (TypeError, ValueError):
        return None


def _table(fitted: Any, rows: Any, name: str, place: int, known: list[Any]) -> np.ndarray:
    """scikit-learn's result for the first row with each category of a column, (categories, outputs)."""
    many = rows.iloc[[0] * len(known)] if is_frame(rows) else rows[[0] * len(known)]
    if is_frame(rows):
        return transformed(fitted, many.assign(**{name: known}))
    many = many.astype(object) if many.dtype.kind == "U" else many  # an array of text would cut a longer one
    many[:, place] = known
    return transformed(fitted, many)
