"""A model's row type: what one instance of a request must be."""

from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, WithJsonSchema

from whyserve.api.schemas.types import (
    described,
    list_of,
    list_or_text,
    nested,
    nullable,
    one_of,
    optional,
    type_name,
    typed_dict,
)
from whyserve.model.image import LEVELS, MOST_TEXT, Layout
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.manifest import Manifest
from whyserve.model.spec import ModelSpec
from whyserve.model.text import most_letters

# A float32 holds every whole number between these.
WHOLE_BOUNDS = (-(2**24), 2**24)
ROW_ID = "id"
RowId = Annotated[str, Field(max_length=200)] | Annotated[int, Field(ge=-(2**53), le=2**53)]


def takes_ids(spec: ModelSpec) -> bool:
    """Whether an instance to explain may have an id: not if an input or a feature has this name."""
    return ROW_ID not in spec.keys


def row_type(manifest: Manifest, with_id: bool = False) -> Any:
    """One instance of this model. with_id: it may have an id, which its explanation repeats."""
    name, fields = f"{type_name(manifest.spec.name)}Row", row_fields(manifest)
    if with_id and takes_ids(manifest.spec):
        name, fields = f"{name}WithId", {**fields, ROW_ID: optional(RowId)}
    return typed_dict(name, fields, f"One instance of {manifest.spec.name}.")


def row_fields(manifest: Manifest) -> dict[str, Any]:
    """The type of each key of an instance."""
    spec = manifest.spec
    fields: dict[str, Any] = {}
    for item in spec.inputs:
        if item.is_tabular:
            fields.update({f.name: _feature_type(item, f, manifest) for f in item.features})
        elif item.tokenizer:
            words = f"A text of at most {item.shape[0]} tokens. At least one token must be known to the model."
            fields[item.name] = described(str, words, min_length=1, max_length=most_letters(item))
        else:
            fields[item.name] = _array_type(item, manifest.vocabularies.get(item.name))
    return fields


def rows_type(manifest: Manifest, limit: int, with_id: bool = False) -> Any:
    """A list of 1 to `limit` rows. with_id: each may have an id."""
    return Annotated[list_of(row_type(manifest, with_id)), Field(min_length=1, max_length=limit, fail_fast=True)]


def _array_type(item: InputSpec, vocabulary: int | None) -> Any:
    """Nested lists; for an image, also a PNG or JPEG."""
    layout = Layout.of(item)
    words = f"{item.kind}, {item.dtype}"
    if layout is None:
        return nested(_number_type(item, vocabulary), item.shape, words)
    ends = np.reshape(item.range or LEVELS, (-1, 2))
    black, white = (", ".join(f"{end:g}" for end in column) for column in ends.T)
    words += f", {black} is black and {white} is white; or a PNG or JPEG in base64, {layout.mode}"
    words += f', of {layout.width} × {layout.height} pixels, also as {{"b64": …}}'
    text = Annotated[str, Field(max_length=MOST_TEXT, json_schema_extra={"contentEncoding": "base64"})]
    return Annotated[
        list_or_text(nested(_number_type(item), item.shape), text, "must be a list, or a PNG or JPEG in base64"),
        BeforeValidator(without_b64),
        Field(description=words, json_schema_extra={"x-range": np.asarray(item.range or LEVELS).tolist()}),
    ]


def without_b64(value: Any) -> Any:
    """The string in {"b64": "…"}, in which clients of TensorFlow Serving send a file. Other values stay the same."""
    return value["b64"] if isinstance(value, dict) and value.keys() == {"b64"} else value


def _feature_type(item: InputSpec, feature: Feature, manifest: Manifest) -> Any:
    made = _value_type(item, feature, manifest)
    return nullable(made) if feature.missing else made


def _value_type(item: InputSpec, feature: Feature, manifest: Manifest) -> Any:
    if feature.categories:
        return described(one_of(feature.categories), feature.description)
    if item.value_type(feature) is bool:
        return described(bool, feature.description)
    low, high = manifest.ranges[feature.name]
    words = " ".join(part for part in (feature.description, feature.unit and f"In {feature.unit}.") if part)
    extra: dict[str, Any] = {"x-range": [low, high], **({"x-unit": feature.unit} if feature.unit else {})}
    number = _number_type(item, manifest.vocabularies.get(feature.name), feature)
    words = f"{words} From {low:.6g} to {high:.6g} in the background.".strip()
    return described(number, words, json_schema_extra=extra)


def _number_type(item: InputSpec, vocabulary: int | None = None, feature: Feature | None = None) -> Any:
    """The type of one number. vocabulary: n, if the number is one of the ids 0 to n − 1."""
    made = item.value_type(feature)
    if made is not int:
        return made
    if vocabulary is not None:
        # JSON Schema counts 3.0 as an integer, and a table of numbers often holds ids in this form.
        schema = {"type": "integer", "minimum": 0, "maximum": vocabulary - 1}
        return Annotated[float, Field(ge=0, le=vocabulary - 1, multiple_of=1), WithJsonSchema(schema)]
    low, high = item.bounds if item.is_integer else WHOLE_BOUNDS
    return Annotated[int, Field(ge=low, le=high)]
