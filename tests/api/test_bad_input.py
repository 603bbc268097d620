"""Every invalid request gets a problem that names the place. No answer is a 500 or repeats the request."""

import json
from typing import Any

import httpx
import pytest

from tests.conftest import example

LINEAR = {"bmi": 30.0, "bp": 90.0}


def body(**change):
    return json.dumps({"model": "linear", "instances": [LINEAR], **change})


def instances(*rows):
    return body(instances=list(rows))


def columns(**given):
    return json.dumps({"model": "linear", "columns": given})


CASES = {
    # name: (body, status, code, instance, field)
    "not JSON": ("{", 400, "malformed_body", None, None),
    "empty": ("", 400, "malformed_body", None, None),
    "not UTF-8": (b"\xff\xfe", 400, "malformed_body", None, None),
    "lone surrogate": (
        '{"model": "linear", "instances": [{"bmi": "\\ud800", "bp": 1}]}',
        400,
        "malformed_body",
        None,
        None,
    ),
    "not an object": ("[1]", 422, "invalid_input", None, None),
    "deep": ("[" * 100_000, 400, "malformed_body", None, None),
    "no model": (json.dumps({"instances": [LINEAR]}), 422, "invalid_input", None, "model"),
    "unknown model": (body(model="nope"), 404, "unknown_model", None, "model"),
    "model is a number": (body(model=3), 404, "unknown_model", None, "model"),
    "unknown version": (body(version=9), 404, "unknown_model", None, "version"),
    "no instances": (body(instances=[]), 422, "invalid_input", None, "instances"),
    "instances is null": (body(instances=None), 422, "invalid_input", None, "instances"),
    "too many": (instances(*[LINEAR] * 1001), 422, "too_many_instances", None, "instances"),
    "an instance is null": (instances(LINEAR, None), 422, "invalid_input", 1, None),
    "missing feature": (instances(LINEAR, {"bmi": 1.0}), 422, "invalid_input", 1, "bp"),
    "unknown feature": (instances({**LINEAR, "age": 3}), 422, "invalid_input", 0, "age"),
    "null feature": (instances({**LINEAR, "bp": None}), 422, "invalid_input", 0, "bp"),
    "string for number": (instances({**LINEAR, "bp": "90"}), 422, "invalid_input", 0, "bp"),
    "bool for number": (instances({**LINEAR, "bp": True}), 422, "invalid_input", 0, "bp"),
    "list for number": (instances({**LINEAR, "bp": [90]}), 422, "invalid_input", 0, "bp"),
    "NaN": (instances({**LINEAR, "bp": float("nan")}), 422, "invalid_input", 0, "bp"),
    "Infinity": (instances({**LINEAR, "bp": float("-inf")}), 422, "invalid_input", 0, "bp"),
    "1e999": ('{"model": "linear", "instances": [{"bmi": 1e999, "bp": 1}]}', 422, "invalid_input", 0, "bmi"),
    "too large for float32": (instances(LINEAR, {**LINEAR, "bp": 1e300}), 422, "invalid_input", 1, "bp"),
    "neither instances nor columns": ('{"model": "linear"}', 422, "invalid_input", None, "instances"),
    "both instances and columns": (body(columns={"bmi": [1], "bp": [1]}), 422, "invalid_input", None, "columns"),
    "a missing column": (columns(bmi=[1]), 422, "invalid_input", None, "columns.bp"),
    "an unknown column": (columns(bmi=[1], bp=[1], age=[1]), 422, "invalid_input", None, "columns.age"),
    "columns of different lengths": (columns(bmi=[1, 2], bp=[1]), 422, "invalid_input", None, "columns.bp"),
    "empty columns": (columns(bmi=[], bp=[]), 422, "invalid_input", None, "columns.bmi"),
    "a column is a number": (columns(bmi=1, bp=[1]), 422, "invalid_input", None, "columns.bmi"),
    "columns are a list": (
        json.dumps({"model": "linear", "columns": [[1], [2]]}),
        422,
        "invalid_input",
        None,
        "columns",
    ),
    "null in a column": (columns(bmi=[1, None], bp=[1, 1]), 422, "invalid_input", None, "columns.bmi[1]"),
    "bool in a column": (columns(bmi=[1, 2], bp=[1, True]), 422, "invalid_input", None, "columns.bp[1]"),
    "long columns": (columns(bmi=[1] * 1001, bp=[1] * 1001), 422, "too_many_instances", None, None),
    "large in a column": (columns(bmi=[1, 2], bp=[1, 1e300]), 422, "invalid_input", 1, "bp"),
    "a column twice": (
        '{"model": "linear", "columns": {"bmi": [1], "bmi": [2], "bp": [1]}}',
        422,
        "duplicate_key",
        None,
        "bmi",
    ),
    "unknown key": (body(colour="red"), 422, "invalid_input", None, "colour"),
}


def check(answer: httpx.Response, status, code, instance, field):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["detail"]
    if instance is not None:
        assert problem["errors"][0]["instance"] == instance
        assert f"instances[{instance}]" in problem["detail"]
    if field is not None:
        assert problem["errors"][0]["field"] == field
    assert len(answer.content) < 10_000
    assert "Traceback" not in answer.text
    assert "/app/" not in answer.text


@pytest.mark.parametrize("length", [0, 5000])  # long bodies of numbers are read without the schema
@pytest.mark.parametrize("path", ["/predict", "/explain"])
@pytest.mark.parametrize("case", CASES)
def test_the_error_names_the_place(path, case, length, client):
    content, *wanted = CASES[case]
    content = content.encode() if isinstance(content, str) else content
    check(client.post(path, content=content.ljust(length)), *wanted)


@pytest.mark.parametrize("case", ["null feature", "null in a column"])
def test_null_is_refused_with_what_to_do(case, client):
    content, *wanted = CASES[case]
    answer = client.post("/predict", content=content)
    check(answer, *wanted)
    assert "must be a number; to send missing values, set `missing`" in answer.json()["detail"]


EXPLAIN: dict[str, Any] = {
    "unknown label": ({"outputs": ["chianti"]}, 422, "unknown_label", None, "outputs[0]"),
    "no labels": ({"outputs": []}, 422, "invalid_input", None, None),
    "label of another type": ({"outputs": [3]}, 422, "invalid_input", None, None),
    "unknown method": ({"method": "magic"}, 422, "invalid_input", None, "method"),
    "method that does not fit": (
        {"method": "exact", "model": "breast_cancer"},
        422,
        "unsupported_method",
        None,
        "method",
    ),
    "samples below one": ({"samples": 0}, 422, "invalid_input", None, "samples"),
    "seed is a fraction": ({"seed": 1.5}, 422, "invalid_input", None, "seed"),
}


@pytest.mark.parametrize("case", EXPLAIN)
def test_invalid_explain_options_are_refused(case, client):
    change, *wanted = EXPLAIN[case]
    request = example(change.get("model", "wine"))
    check(client.post("/explain", json={**request, **change}), *wanted)


def test_faults_are_limited_and_never_repeat_the_request(client):
    secret = "s3cret" * 1000
    rows = [{f"{secret}{i}": secret for i in range(50)} | {"bmi": secret} for _ in range(40)]
    answer = client.post("/predict", json={"model": "linear", "instances": rows})
    check(answer, 422, "invalid_input", 0, None)
    assert secret not in answer.text
    assert len(answer.json()["errors"]) <= 20


def test_unknown_paths_and_methods_are_problems(client):
    check(client.get("/nowhere"), 404, "not_found", None, None)
    check(client.get("/predict"), 405, "method_not_allowed", None, None)
    check(client.get("/models/nope"), 404, "unknown_model", None, None)
    check(client.get(f"/explanations/{'0' * 32}"), 404, "unknown_explanation", None, None)
    check(client.delete("/explanations/nope"), 404, "unknown_explanation", None, None)


def test_a_non_finite_output_is_refused(client):
    """Large finite numbers may overflow inside the model."""
    answer = client.post("/predict", json={"model": "linear", "instances": [LINEAR, {"bmi": 3e38, "bp": -3e38}]})
    check(answer, 422, "invalid_input", 1, None)
