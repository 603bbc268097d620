"""Types as generators of clients take them well: without null, and a pair as a list."""

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


def test_what_may_be_null_may_be_left_out():
    made = plain(TypeAdapter(Asked).json_schema())
    assert made["required"] == []
    assert [part["type"] for part in made["properties"]["id"]["anyOf"]] == ["string", "integer"]
    assert made["properties"]["rows"] == {"items": {"type": "integer"}, "title": "Rows", "type": "array"}


def test_a_pair_is_a_list_of_two_and_what_is_mixed_stays():
    properties = plain(Inner.model_json_schema())["properties"]
    assert properties["pair"] == {
        "items": {"type": "number"}, "maxItems": 2, "minItems": 2, "title": "Pair", "type": "array",
    }  # fmt: skip
    assert len(properties["mixed"]["prefixItems"]) == 2


def test_what_is_dumped_without_null_has_all_its_other_fields():
    components: dict[str, dict[str, object]] = {}
    add_dumped(components, Outer)
    assert components["Outer"]["required"] == ["names"]
    assert components["Inner"]["required"] == ["pair", "mixed"]
    dumped = Outer(inner=Inner(pair=(0, 1))).model_dump(exclude_none=True)
    assert set(dumped) == {"inner", "names"}


def test_what_is_there_already_stays():
    components = {"Inner": {"type": "string"}}
    add(components, Outer, "validation")
    assert components["Inner"] == {"type": "string"}
