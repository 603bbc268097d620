"""Schemas in the form that client generators support: without null, and with lists for tuples."""

from typing import NotRequired

from pydantic import BaseModel, TypeAdapter
from typing_extensions import TypedDict

from whyserve.api.openapi.components import add, add_dumped, plain


class Inner(BaseModel):
    unit: str | None = None
    pair: tuple[float, float]
    mixed: tuple[int, str] = (1, "a")


class Outer(BaseModel):
    inner: Inner | None = None
    names: tuple[str, ...] = ()


class Asked(TypedDict):
    id: NotRequired[str | int | None]
    rows: list[int] | None


def test_nullable_fields_become_optional():
    made = plain(TypeAdapter(Asked).json_schema())
    assert made["required"] == []
    assert [part["type"] for part in made["properties"]["id"]["anyOf"]] == ["string", "integer"]
    assert made["properties"]["rows"] == {"items": {"type": "integer"}, "title": "Rows", "type": "array"}


def test_a_tuple_of_equal_types_becomes_a_list():
    properties = plain(Inner.model_json_schema())["properties"]
    assert properties["pair"] == {
        "items": {"type": "number"}, "maxItems": 2, "minItems": 2, "title": "Pair", "type": "array",
    }  # fmt: skip
    assert len(properties["mixed"]["prefixItems"]) == 2


def test_dumped_models_require_their_other_fields():
    components: dict[str, dict[str, object]] = {}
    add_dumped(components, Outer)
    assert components["Outer"]["required"] == ["names"]
    assert components["Inner"]["required"] == ["pair", "mixed"]
    dumped = Outer(inner=Inner(pair=(0, 1))).model_dump(exclude_none=True)
    assert set(dumped) == {"inner", "names"}


def test_existing_components_stay():
    components = {"Inner": {"type": "string"}}
    add(components, Outer, "validation")
    assert components["Inner"] == {"type": "string"}
