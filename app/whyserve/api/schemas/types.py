"""Building blocks of a model's own request and response types, made at run time."""

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter, WithJsonSchema
from typing_extensions import TypedDict

make_typed_dict: Any = TypedDict  # called with names and fields that a type checker cannot see
# Types of a protocol begin with these, such as KservePredictRequest.
PROTOCOLS = {"Kserve"}
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


def type_name(name: str) -> str:
    """breast_cancer → BreastCancer. Each name has its own: a-b, a.b and a__b get a suffix, and a_b does not."""
    made = "".join(part.capitalize() for part in re.split("[_.-]+", name))
    only_name = re.sub("(?!^)(?=[A-Z])", "_", made).lower()
    if name == only_name and made not in PROTOCOLS:
        return made
    return f"{made}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def typed_dict(name: str, fields: dict[str, Any], description: str | None = None) -> Any:
    """A TypedDict that refuses unknown keys and converts nothing."""
    made = make_typed_dict(name, fields)
    made.__pydantic_config__ = ConfigDict(**STRICT, title=name)
    made.__doc__ = description
    return made


def described(of: Any, text: str | None, **limits: Any) -> Any:
    """A type with a description. limits: as of pydantic's Field."""
    return Annotated[of, Field(description=text, **limits)]


def optional(of: Any, text: str | None = None, **limits: Any) -> Any:
    """A field that may be absent. text, limits: as of `described`."""
    return NotRequired[described(of, text, **limits) if text or limits else of]


def one_of(values: Iterable[str]) -> Any:
    """A Literal of values that are known only at run time."""
    return Literal.__getitem__(tuple(values))


def list_of(item: Any) -> Any:
    """A list of a type that is known only at run time."""
    return list.__class_getitem__(item)


def nested(item: Any, shape: tuple[int, ...], description: str | None = None) -> Any:
    """Nested lists of exactly this shape. Validation stops at the first fault."""
    made = item
    for size in reversed(shape):
        made = Annotated[list_of(made), Field(min_length=size, max_length=size, fail_fast=True)]
    return Annotated[made, Field(description=description)]


def nullable(of: Any) -> Any:
    """A number, string or boolean, or null for a missing value. The schema says so without a union."""
    schema = TypeAdapter(of).json_schema()
    values = schema.get("enum") or ([schema.pop("const")] if "const" in schema else None)
    schema |= {"type": [schema["type"], "null"], **({"enum": [*values, None]} if values else {})}
    return Annotated[of | None, WithJsonSchema(schema)]


def list_or_text(items: Any, text: Any, message: str) -> Any:
    """A list or a string, of the given types. message: the error for any other JSON type."""

    def tag_of(value: Any) -> str | None:
        return "[list]" if isinstance(value, list) else "[text]" if isinstance(value, str) else None

    # The place in an error message leaves out parts in brackets.
    either = Annotated[items, Tag("[list]")] | Annotated[text, Tag("[text]")]
    return Annotated[either, Discriminator(tag_of, custom_error_type="list_or_text", custom_error_message=message)]


def union(types: list[Any]) -> Any:
    """The union of request types, which `model` tells apart."""
    if len(types) == 1:
        return types[0]
    joined = types[0]
    for other in types[1:]:
        joined = joined | other
    return Annotated[joined, Field(discriminator="model")]
