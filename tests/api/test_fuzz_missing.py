"""Thousands of rows with nulls in every place, in every protocol: a valid row is answered, and nothing gets a 5xx."""

import json
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from tests.api.fuzzing import SHARE, bounded
from tests.kinds.service import client_of
from tests.missing import package_credit

pytestmark = [pytest.mark.fuzz, pytest.mark.timeout(1800)]
REQUESTS = 5000
NUMBER = st.floats(-100, 100, width=32)
VALID: dict[str, Any] = {
    "age": NUMBER,
    "income": NUMBER,
    "owner": st.booleans(),
    "plan": st.sampled_from(["free", "pro"]),
}
WRONG = st.sampled_from(["", "team", "NaN", [], {}, [None], True, 1e300, -1, {"fill": None}])


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    root = tmp_path_factory.mktemp("missing")
    package_credit(root)
    with client_of(root) as client:
        yield client


@st.composite
def rows(draw: st.DrawFn, *, valid: bool) -> list[dict[str, Any]]:
    def value(key: str) -> Any:
        return draw(st.none() | VALID[key] if valid else st.none() | VALID[key] | WRONG)

    return [{key: value(key) for key in VALID} for _ in range(draw(st.integers(1, 3)))]


def tensors(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    codes = {"free": 0, "pro": 1}
    x = [[float(row[k]) if isinstance(row[k], bool) else row[k] for k in ("age", "income", "owner")] for row in given]
    kind = [[codes.get(row["plan"], row["plan"]) if isinstance(row["plan"], str) else row["plan"]] for row in given]
    return [
        {"name": "x", "shape": [len(x), 3], "datatype": "FP32", "data": x},
        {"name": "kind", "shape": [len(x), 1], "datatype": "INT64", "data": kind},
    ]


@st.composite
def requests(draw: st.DrawFn) -> tuple[str, dict[str, Any], bool]:
    """A path, a body, and whether it must be answered with 200."""
    valid = draw(st.booleans())
    given = draw(rows(valid=valid))
    path = draw(st.sampled_from(["/predict", "/predict", "/explain", "/v1", "/v2", "/v2/binary"]))
    if path == "/v1":
        return "/v1/models/credit:predict", {"instances": given}, valid
    if path.startswith("/v2"):
        return f"/v2/models/credit/{draw(st.sampled_from(['infer', 'explain']))}", {"inputs": tensors(given)}, valid
    body: dict[str, Any] = {"model": "credit", "instances": given}
    if path == "/predict" and draw(st.booleans()):
        body = {"model": "credit", "columns": {key: [row[key] for row in given] for key in VALID}}
    if path == "/explain" and draw(st.booleans()):
        body["background"] = draw(rows(valid=valid))
    if path == "/explain" and draw(st.booleans()):
        body["method"] = draw(st.sampled_from(["exact", "permutation", "auto"]))
    return path, body, valid


def as_binary(body: dict[str, Any]) -> tuple[bytes, dict[str, str]]:
    """The tensors of valid rows as bytes, with NaN, and the code after the last category, for a missing value."""
    tail = b""
    for tensor, dtype, missing in zip(body["inputs"], ("<f4", "<i8"), (np.nan, 2), strict=True):
        raw = np.array([[missing if each is None else each for each in row] for row in tensor.pop("data")], dtype)
        tensor["parameters"] = {"binary_data_size": raw.nbytes}
        tail += raw.tobytes()
    head = json.dumps(body).encode()
    return head + tail, {"Inference-Header-Content-Length": str(len(head))}


def test_rows_with_nulls_are_answered(client):
    statuses: list[int] = []

    @bounded(REQUESTS)
    @hypothesis.given(asked=requests(), binary=st.booleans())
    def ask(asked: tuple[str, dict[str, Any], bool], binary: bool) -> None:
        path, body, valid = asked
        if binary and valid and "inputs" in body:
            content, headers = as_binary(body)
            answer = client.post(path, content=content, headers=headers)
        else:
            answer = client.post(path, content=json.dumps(body), headers={"Content-Type": "application/json"})
        statuses.append(answer.status_code)
        assert answer.status_code < 500, (path, body, answer.text)
        assert answer.status_code == 200 or not valid, (path, body, answer.text)

    ask()
    print({status: statuses.count(status) for status in sorted(set(statuses))})
    assert len(statuses) >= round(REQUESTS * SHARE) // 2
    assert {200, 422} <= set(statuses)
