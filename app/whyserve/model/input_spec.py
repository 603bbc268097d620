"""An input of a network, as model.toml describes it.

Every decision that depends on the kind of an input is made here. Other modules ask the spec and never compare the kind.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StringConstraints,
    ValidationError,
    model_validator,
)

from whyserve.model.fill import FilledWith, fault_of

Kind = Literal["tabular", "image", "sequence", "tokens", "tensor"]
DType = Literal["float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
Ends = tuple[FiniteFloat, FiniteFloat]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200)]


def has_features(kind: str) -> bool:
    """Whether the elements of an input of this kind have names of their own."""
    return kind == "tabular"


def has_range(kind: str) -> bool:
    """Whether an input of this kind has numbers for black and white."""
    return kind == "image"


def has_tokenizer(kind: str) -> bool:
    """Whether an input of this kind can have a tokenizer."""
    return kind == "tokens"


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def repeated(names: Iterable[str]) -> list[str]:
    """The names that appear more than once, sorted."""
    return sorted(name for name, count in Counter(names).items() if count > 1)


def one_line(error: ValidationError) -> str:
    """The first fault of a pydantic error, as "place: message"."""
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])
    words = re.sub(r"^Value error, ", "", first["msg"])
    return f"{place}: {words}" if place else words


class Feature(Strict):
    """One column of a tabular input.

    title: the name that the page shows. Default: the name without underscores and without the unit.
    categories: the feature is sent as one of these strings, and the network gets its position in the list.
    boolean: the feature is sent as true or false, and the network gets 1 or 0.
    whole: the feature is sent as a whole number, because the network casts it to an integer.
    range: the smallest and largest value for which the model is reliable. Other values are reported as out of range.
        Default: the background's range, widened by a quarter of it on each side.
    group: features of one group, such as one-hot columns, are sent separately and explained as one player.
    missing: whether a request may send null. true: the network gets NaN, or for categories the code after the last one.
    """

    name: Label
    title: str | None = None
    unit: str | None = None
    description: str | None = None
    categories: tuple[str, ...] | None = None
    boolean: bool = False
    whole: bool = False
    group: Label | None = None
    range: Ends | None = None
    missing: StrictBool | FilledWith = False

    @property
    def player(self) -> str:
        """The key of the feature's attribution."""
        return self.group or self.name


@dataclass(frozen=True, slots=True)
class AttributionForm:
    """The form of the attribution under one key.

    shape: () for a number. tokens: a list of tokens with values. players: a list of players with values.
    """

    shape: tuple[int, ...] = ()
    tokens: bool = False
    players: bool = False


class InputSpec(Strict):
    """One input of the network. A tabular input has features; the other kinds have a shape, without the batch.

    range: of an image, the numbers that the network takes for black and white, or a pair of them for each channel.
        Default: 0 and 255.
    tokenizer: a file of the model's folder. With it, an input of tokens is sent as text; without it, as integers.
    """

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
    kind: Kind = "tabular"
    dtype: DType = "float32"
    features: tuple[Feature, ...] = ()
    shape: tuple[Annotated[int, Field(gt=0)], ...] = ()
    tokenizer: Annotated[str, StringConstraints(pattern=r"^[^/\\]{1,200}\.json$")] | None = None
    range: Ends | tuple[Ends, ...] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.is_tabular and (not self.features or self.shape):
            raise ValueError("an input of kind tabular must list its features and must have no shape")
        if not self.is_tabular and (self.features or not self.shape):
            raise ValueError(f"an input of kind {self.kind} must have a shape and no features")
        if any(f.categories for f in self.features) and not self.is_integer:
            raise ValueError(f"features with categories need an input of integer dtype; the dtype is {self.dtype}")
        if any(bool(f.categories) + f.boolean + f.whole > 1 for f in self.features):
            raise ValueError("a feature has one of categories, boolean and whole")
        if any(f.range and (f.categories or f.boolean or f.range[0] >= f.range[1]) for f in self.features):
            raise ValueError("range = [smallest, largest] of a feature needs a number, and smallest < largest")
        for feature in self.features:
            of = feature.missing
            if of and (words := fault_of(of, self.value_type(feature), self.dtype, feature.categories or ())):
                raise ValueError(f'missing of "{feature.name}": {words}')
        if self.is_bool and (has_range(self.kind) or has_tokenizer(self.kind)):
            raise ValueError("an input of dtype bool must have kind tabular, sequence or tensor")
        if self.tokenizer and not (has_tokenizer(self.kind) and self.is_integer and len(self.shape) == 1):
            raise ValueError("an input with a tokenizer must have kind tokens, an integer dtype and shape = [tokens]")
        if self.range is not None:
            self._check_range(np.asarray(self.range))
        return self

    def _check_range(self, ends: np.ndarray) -> None:
        if not has_range(self.kind) or not (ends[..., 0] < ends[..., 1]).all():
            raise ValueError("range = [black, white] needs an input of kind image, and black must be less than white")
        if ends.ndim == 2 and self.channel_axis(len(ends)) is None:
            raise ValueError(f"range has {len(ends)} pairs, but shape = {list(self.shape)} has other channels")

    def channel_axis(self, channels: int) -> int | None:
        """The axis of the shape with this number of channels: the last or the first one. None: neither of them."""
        return next((axis for axis in (2, 0) if len(self.shape) == 3 and self.shape[axis] == channels), None)

    def image_axes(self) -> tuple[int, int, int | None] | None:
        """Height, width and the axis of the channels of an image (H, W), (H, W, C) or (C, H, W) with 1 to 4 channels.

        The axis is None for (H, W). None for another shape, and for an input of another kind.
        """
        if not has_range(self.kind):
            return None
        if len(self.shape) == 2:
            return self.shape[0], self.shape[1], None
        # One and three channels are more frequent, so they decide a shape that fits both.
        for counts in ((1, 3), (2, 4)):
            for axis in (2, 0) if len(self.shape) == 3 else ():
                if self.shape[axis] in counts:
                    height, width = self.shape[:2] if axis == 2 else self.shape[1:]
                    return height, width, axis
        return None

    def black_and_white(self, default: Ends) -> tuple[np.ndarray, np.ndarray]:
        """The numbers for black and for white of an image, in a shape that broadcasts against a row."""
        pairs = np.asarray(default if self.range is None else self.range)
        if pairs.ndim == 2:
            pairs = pairs.reshape(-1, 1, 1, 2) if self.channel_axis(len(pairs)) == 0 else pairs
        return pairs[..., 0], pairs[..., 1]

    @property
    def is_tabular(self) -> bool:
        """Whether the elements have names of their own."""
        return has_features(self.kind)

    @property
    def is_integer(self) -> bool:
        return "int" in self.dtype

    @property
    def is_plain(self) -> bool:
        """Whether the elements are floating-point numbers with names of their own."""
        return (
            self.is_tabular
            and self.is_float
            and not any(feature.categories or feature.boolean or feature.whole for feature in self.features)
        )

    @property
    def is_bool(self) -> bool:
        return self.dtype == "bool"

    @property
    def is_float(self) -> bool:
        return not (self.is_integer or self.is_bool)

    @property
    def bounds(self) -> tuple[Any, Any]:
        """The smallest and the largest finite number of the dtype: int of an integer dtype, else float."""
        if self.is_integer:
            return np.iinfo(self.dtype).min, np.iinfo(self.dtype).max
        return float(np.finfo(self.dtype).min), float(np.finfo(self.dtype).max)

    @property
    def array_kinds(self) -> str:
        """The kinds of NumPy's dtypes that hold values of this input. Integers for a boolean must be 0 or 1."""
        return "iubf" if self.is_float else "iub"

    def value_type(self, feature: Feature | None = None) -> type[bool | int | float]:
        """The type of one value in a request: bool, int for a whole number, or float. feature: of a tabular input."""
        if self.is_bool or (feature is not None and feature.boolean):
            return bool
        return int if self.is_integer or (feature is not None and feature.whole) else float

    def is_number(self, feature: Feature) -> bool:
        """Whether a feature's values have an order."""
        return not feature.categories and self.value_type(feature) is not bool

    def columns(self, array: np.ndarray) -> Iterator[tuple[str, Feature | None, np.ndarray]]:
        """The key, the feature and the values of each key of an instance. array: (rows, *shape)."""
        if not self.is_tabular:
            yield self.name, None, array
        for column, feature in enumerate(self.features):
            yield feature.name, feature, array[:, column]

    @property
    def row_shape(self) -> tuple[int, ...]:
        """The shape of one row."""
        return (len(self.features),) if self.is_tabular else self.shape

    @property
    def size_text(self) -> str:
        """The size of one row, for people: "4 features", "text of 14 tokens" or "8 × 8 × 1"."""
        if self.tokenizer:
            return f"text of {self.shape[0]} tokens"
        if self.is_tabular:
            return f"{len(self.features)} feature{'s' if len(self.features) > 1 else ''}"
        return " × ".join(map(str, self.shape))

    # -- keys of an instance, and of its attributions ------------------------------------------------

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of an instance that hold this input."""
        return tuple(feature.name for feature in self.features) if self.is_tabular else (self.name,)

    def key_of(self, place: Sequence[int]) -> str:
        """The key of an instance that holds the element at `place`, an index into a row."""
        return self.keys[place[0]] if self.is_tabular else self.name

    def instance_values(self, values: Any) -> dict[str, Any]:
        """The values of a row, nested lists of its shape, by the keys of an instance, as in a request."""
        if not self.is_tabular:
            return {self.name: values}
        return {
            feature.name: None
            if feature.missing and self.is_missing(feature, np.array(value))
            else feature.categories[value]
            if feature.categories
            else self.value_type(feature)(value)
            for feature, value in zip(self.features, values, strict=True)
        }

    @cached_property
    def coded_features(self) -> list[tuple[int, Feature]]:
        """The features that do not take every number, with their columns."""
        return [(at, f) for at, f in enumerate(self.features) if f.categories or f.boolean or f.whole]

    # -- missing values ------------------------------------------------------------------------------

    def marker(self, feature: Feature) -> float | int | None:
        """What stands for a missing value of a feature in an array; None if the feature must have a value.

        It is NaN, the code after the last category, or of an integer dtype the smallest number; of uint8 the largest.
        """
        if not feature.missing:
            return None
        if feature.categories or self.is_float:
            return len(feature.categories) if feature.categories else np.nan
        low, high = self.bounds
        return int(low or high)

    @cached_property
    def markers(self) -> list[float | int | None]:
        """The marker of each feature; empty if every value must be there."""
        return list(map(self.marker, self.features)) if any(feature.missing for feature in self.features) else []

    def is_missing(self, feature: Feature, values: np.ndarray) -> np.ndarray:
        """Whether each value of a feature is missing: bool, in the shape of `values`."""
        marker = self.marker(feature)
        if marker is None:
            return np.zeros(values.shape, bool)
        return np.asarray(np.isnan(values) if np.isnan(marker) else values == marker)

    def present(self, feature: Feature, values: np.ndarray) -> np.ndarray:
        """The values of a feature, (rows,), that are not missing."""
        return np.asarray(values[~self.is_missing(feature, values)])

    def missing_in(self, array: np.ndarray) -> np.ndarray | None:
        """The same for each element of rows, (rows, *shape); None if every value must be there."""
        if not self.markers:
            return None
        return np.stack([self.is_missing(f, array[:, column]) for column, f in enumerate(self.features)], axis=1)

    @property
    def takes_nan(self) -> bool:
        """Whether the network may get NaN."""
        return self.is_float and any(feature.missing is True for feature in self.features)

    @property
    def player_keys(self) -> tuple[str, ...] | None:
        """For each element of a row, row-major, the key of its player. None: each element is a player of its own."""
        return tuple(feature.player for feature in self.features) if self.is_tabular else None

    def attribution_forms(self) -> dict[str, AttributionForm]:
        """The form of each attribution of this input, by key; a group of features has one key."""
        if self.is_tabular:
            return {feature.player: AttributionForm() for feature in self.features}
        return {self.name: AttributionForm(self.shape, tokens=self.tokenizer is not None)}

    def attributions(self, values: Any) -> dict[str, Any]:
        """The values of a row, nested lists of its shape, by the keys of attributions."""
        if self.is_tabular:
            return dict(zip((feature.player for feature in self.features), values, strict=True))
        return {self.name: values}

    def take_values(self, left: dict[str, Any]) -> Any:
        """The inverse of `attributions`; takes the values out of `left`.

        The value of a group stands at its first feature. Its other features, in whichever input, get 0.
        """
        if not self.is_tabular:
            return left.pop(self.name)
        return [left.pop(feature.player, 0.0) for feature in self.features]
