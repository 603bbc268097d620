"""What depends on the kind of an input."""

from typing import Any

import pytest
from pydantic import ValidationError

from whyserve.model.input_spec import AttributionForm, InputSpec

SHAPES: dict[str, list[int]] = {"image": [2, 3, 1], "sequence": [4], "tokens": [4], "tensor": [2, 2]}
TABLE = InputSpec.model_validate(
    {
        "name": "x",
        "dtype": "int64",
        "features": [
            {"name": "island", "categories": ["Biscoe", "Dream"]},
            {"name": "on_a", "group": "place"},
            {"name": "age"},
            {"name": "on_b", "group": "place"},
        ],
    }
)
TEXT = InputSpec(name="review", kind="tokens", dtype="int64", shape=(4,), tokenizer="tokenizer.json")


def shaped(kind: str, **more: Any) -> InputSpec:
    return InputSpec.model_validate({"name": "z", "kind": kind, "shape": SHAPES[kind], **more})


def test_a_table_has_a_key_for_each_feature():
    assert TABLE.keys == ("island", "on_a", "age", "on_b")
    assert [TABLE.key_of((column,)) for column in range(4)] == list(TABLE.keys)
    assert TABLE.row_shape == (4,)
    assert TABLE.size_text == "4 features"
    assert TABLE.instance_values([1, 0, 30, 1]) == {"island": "Dream", "on_a": 0, "age": 30, "on_b": 1}


@pytest.mark.parametrize("kind", SHAPES)
def test_every_other_kind_has_one_key(kind):
    item = shaped(kind)
    values = [[1.5] * 4]
    assert item.keys == ("z",)
    assert item.key_of((1, 0)) == "z"
    assert item.row_shape == tuple(SHAPES[kind])
    assert item.instance_values(values) == {"z": values}
    assert item.attribution_forms() == {"z": AttributionForm(item.shape)}
    assert item.attributions(values) == {"z": values}


def test_sizes_are_described_for_people():
    assert shaped("image").size_text == "2 × 3 × 1"
    assert shaped("tokens", dtype="int64").size_text == "4"
    assert TEXT.size_text == "text of 4 tokens"
    assert TABLE.model_copy(update={"features": TABLE.features[:1]}).size_text == "1 feature"


def test_a_group_has_one_attribution():
    assert TABLE.attribution_forms() == {key: AttributionForm() for key in ("island", "place", "age")}


def test_only_a_tokenizer_makes_attributions_of_tokens():
    assert TEXT.attribution_forms() == {"review": AttributionForm((4,), tokens=True)}
    assert shaped("tokens", dtype="int64").attribution_forms() == {"z": AttributionForm((4,), tokens=False)}


def test_take_values_is_the_inverse_of_attributions():
    left = {"age": 3.0, "place": 2.0, "other": 9.0, "island": 1.0, "z": [5.0] * 4}
    # The group has one value. It stands at the first feature of the group, and the others get 0.
    assert TABLE.take_values(left) == [1.0, 2.0, 3.0, 0.0]
    assert shaped("sequence").take_values(left) == [5.0] * 4
    assert left == {"other": 9.0}
    ungrouped = TABLE.model_copy(update={"features": tuple(f for f in TABLE.features if not f.group)})
    assert ungrouped.take_values(ungrouped.attributions([4.0, 7.0])) == [4.0, 7.0]


def test_a_group_that_started_in_another_input_gets_zeros():
    left = {"island": 1.0, "age": 3.0}
    assert TABLE.take_values(left) == [1.0, 0.0, 3.0, 0.0]


def test_the_type_of_a_value_follows_from_the_dtype_and_the_feature():
    assert shaped("tensor", dtype="bool").value_type() is bool
    assert shaped("tensor", dtype="uint8").value_type() is int
    features = [{"name": "a"}, {"name": "b", "boolean": True}, {"name": "c", "whole": True}]
    table = InputSpec.model_validate({"name": "x", "features": features})
    assert [table.value_type(feature) for feature in table.features] == [float, bool, int]
    assert table.instance_values([0.5, 1.0, 3.0]) == {"a": 0.5, "b": True, "c": 3}


@pytest.mark.parametrize(
    ("described", "words"),
    [
        ({"features": []}, "kind tabular must list its features and must have no shape"),
        ({"features": [{"name": "a"}], "shape": [1]}, "kind tabular must list its features and must have no shape"),
        (
            {"kind": "image", "shape": [2, 2], "dtype": "bool"},
            "an input of dtype bool must have kind tabular, sequence",
        ),
        ({"features": [{"name": "a", "boolean": True, "whole": True}]}, "a feature has one of categories, boolean and"),
        ({"kind": "sequence"}, "kind sequence must have a shape and no features"),
        ({"kind": "image", "features": [{"name": "a"}], "shape": [1]}, "kind image must have a shape and no features"),
        ({"features": [{"name": "a", "categories": ["b"]}]}, "need an input of integer dtype; the dtype is float32"),
        ({"kind": "tokens", "shape": [4], "tokenizer": "t.json"}, "an input with a tokenizer must have kind tokens"),
        (
            {"kind": "sequence", "dtype": "int64", "shape": [4], "tokenizer": "t.json"},
            "an input with a tokenizer must have kind tokens",
        ),
        (
            {"kind": "tokens", "dtype": "int64", "shape": [4, 2], "tokenizer": "t.json"},
            "an input with a tokenizer must have kind tokens",
        ),
        ({"kind": "tensor", "shape": [4], "range": [0, 1]}, "needs an input of kind image"),
        ({"kind": "image", "shape": [4, 4], "range": [1, 1]}, "black must be less than white"),
        ({"kind": "image", "shape": [3, 4, 4], "range": [[0, 1], [0, 1], [1, 0]]}, "black must be less than white"),
        ({"kind": "image", "shape": [3, 4, 4], "range": [[0, 1], [0, 1]]}, "range has 2 pairs, but shape"),
        ({"kind": "image", "shape": [4, 4], "range": [[0, 1]] * 4}, "range has 4 pairs, but shape"),
    ],
)
def test_an_inconsistent_input_is_refused(described, words):
    with pytest.raises(ValidationError, match=words):
        InputSpec.model_validate({"name": "x", **described})
