"""What a record keeps of columns that model.toml leaves out or hashes."""

from typing import Any

import numpy as np
import orjson

from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.spec import ModelSpec, OutputSpec, RecordSpec
from whyserve.record.content import Content, Hidden

SPEC = ModelSpec(
    name="m",
    framework="torch",
    task="regression",
    inputs=(InputSpec(name="x", features=tuple(Feature(name=name) for name in ("age", "income", "debt"))),),
    output=OutputSpec(names=("y",), scores="values"),
    record=RecordSpec(omit=("age",), hash=("income",)),
)
ROW = {"age": 51.5, "income": 77.25, "debt": 3.5}
EXPLANATION: dict[str, Any] = {
    "outputs": [{"output": "y", "attributions": {"age": 0.1, "income": 0.2, "debt": 0.3}, "missing": {"age": True}}],
    "out_of_range": [{"feature": "age", "value": 51.5}, {"feature": "debt", "value": 3.5}],
    "masks": {},
    "reasons": {
        "named": [
            {"feature": "age", "value": 51.5},
            {"feature": "debt", "value": 3.5},
            {"feature": "both", "value": {"income": 77.25, "debt": 3.5}},
        ]
    },
    "similar": [{"row": 0, "instance": ROW}],
}


def test_hidden_values_are_nowhere_in_the_content():
    content = Content(
        orjson.dumps({"model": "m", "instances": [ROW], "background": [ROW]}),
        orjson.dumps({"explanations": [EXPLANATION]}),
        arrays={"x": np.array([[51.5, 77.25, 3.5]], np.float32)},
        background={"x": np.array([[51.5, 77.25, 3.5]], np.float32)},
    )
    kept = content.without(Hidden(SPEC, b"key"))
    for part in (kept.body, kept.answer):
        assert b"51.5" not in part
        assert b"77.25" not in part
        assert b"3.5" in part
        assert b"hmac-sha256:" in part
    (explanation,) = orjson.loads(kept.answer)["explanations"]
    assert explanation["outputs"][0] == {**EXPLANATION["outputs"][0], "missing": {}}
    assert explanation["out_of_range"] == [{"feature": "debt", "value": 3.5}]
    assert [each["value"] for each in explanation["reasons"]["named"][:2]] == [None, 3.5]
    for array in (kept.arrays["x"], kept.background["x"]):
        np.testing.assert_array_equal(array, [[np.nan, np.nan, 3.5]])


def test_hidden_values_of_counterfactuals_are_not_kept():
    near = {"row": 0, "distance": 1.0, "instance": ROW}
    found = {"changes": {"age": 51.5, "debt": 3.5}, "instance": ROW, "nearest_background": near}
    answer = orjson.dumps({"counterfactuals": [{"found": [found]}]})
    kept = Content(answer=answer).without(Hidden(SPEC, b"key")).answer
    assert b"51.5" not in kept
    assert b"77.25" not in kept
    assert b"3.5" in kept


def test_filled_values_are_kept_beside_the_gaps_and_erased_with_their_row():
    gaps, filled = np.array([[np.nan, 1, 2], [3, 4, 5]]), np.array([[9.0, 1, 2], [3, 4, 5]])
    content = Content.unpack(Content(arrays={"x": gaps}, filled={"x": filled}).pack())
    np.testing.assert_array_equal(content.arrays["x"], gaps)
    np.testing.assert_array_equal(content.filled["x"], filled)
    left = content.without_row(0)
    assert np.isnan(left.filled["x"][0]).all()
    assert left.filled["x"][1].tolist() == [3, 4, 5]
