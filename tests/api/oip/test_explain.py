"""Explanations as tensors: the numbers of /explain, in the shapes of the inputs."""

from typing import Any

import numpy as np
import pytest
import tritonclient.http

from tests.api.oip.conftest import inputs_of, rows_of
from tests.conftest import example, numbers_of, shipped
from whyserve.api.oip.attributions import tensors_of
from whyserve.model.manifest import read_manifest
from whyserve.model.spec import ModelSpec

Triton = tritonclient.http.InferenceServerClient


def ask(client, name, tensors, wanted=(), version="", **parameters):
    """A request as clients send it: tritonclient encodes it and decodes the answer."""
    body, size = Triton.generate_request_body(tensors, outputs=list(wanted) or None, parameters=parameters)
    headers = {} if size is None else {"Inference-Header-Content-Length": str(size)}
    place = f"/versions/{version}" if version else ""
    answer = client.post(f"/v2/models/{name}{place}/explain", content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    size = answer.headers.get("inference-header-content-length")
    return Triton.parse_response_body(answer.content, header_length=size and int(size))


def suffixes(spec):
    return {item.name: f".{item.name}" if len(spec.inputs) > 1 else "" for item in spec.inputs}


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
@pytest.mark.parametrize("name", shipped())
def test_tensors_equal_the_answer_of_explain(name, binary, client, artifacts):
    manifest, _ = read_manifest(artifacts / name)
    spec, rows = manifest.spec, rows_of(name)
    elements: dict[str, Any] = {"players": "{}", "samples": 4} if manifest.certificate["players"] else {}
    wanted = [] if binary else [tritonclient.http.InferRequestedOutput(n, False) for n in wanted_of(spec)]
    found = ask(client, name, inputs_of(rows, binary=binary), wanted, **elements)
    asked = {**elements, "players": {}} if elements else {}
    explained = client.post("/explain", json={**example(name), "outputs": "all", **asked}).json()

    def said(key):
        return [[output[key] for output in each["outputs"]] for each in explained["explanations"]]

    count = len(next(iter(rows.values())))
    assert found.as_numpy("outputs").tolist() == [
        [label.encode() if binary else label for label in spec.output_names] for _ in range(count)
    ]
    for tensor, key in (("base_values", "base_value"), ("residuals", "residual"), ("values", "value")):
        np.testing.assert_array_equal(found.as_numpy(tensor), said(key))
    total = 0
    for item in spec.inputs:
        tensor = found.as_numpy("attributions" + suffixes(spec)[item.name])
        assert tensor.shape == (count, *item.row_shape, len(spec.output_names))
        assert tensor.dtype == np.float64
        for row in range(count):
            for place in range(len(spec.output_names)):
                by_key = said("attributions")[row][place]
                values = [by_key[f.name] for f in item.features] if item.kind == "tabular" else by_key[item.name]
                shares = tensor[row, ..., place]
                if item.tokenizer:  # all that a text leaves empty is one there
                    *values, padding = numbers_of(values)
                    shares, rest = np.split(shares, [len(values)])
                    assert rest.sum() == pytest.approx(padding)
                np.testing.assert_array_equal(shares, values)
        total = total + tensor.sum(axis=tuple(range(1, tensor.ndim - 1)))
    # base value + attributions + residual = served output
    parts = found.as_numpy("base_values") + total + found.as_numpy("residuals")
    np.testing.assert_allclose(parts, found.as_numpy("values"), rtol=1e-9, atol=1e-9)
    about = found.get_response()["parameters"]
    assert (about["method"], about["manifest"]) == (explained["method"], explained["manifest"])


def wanted_of(spec):
    return ["outputs", "values", "base_values", "residuals", *("attributions" + end for end in suffixes(spec).values())]


def test_only_requested_outputs_are_returned(client):
    tensors = inputs_of(rows_of("wine"))
    found = ask(client, "wine", tensors, outputs="grignolino", version="1")
    assert found.as_numpy("outputs").tolist() == [[b"grignolino"]]
    assert found.as_numpy("attributions").shape == (1, 13, 1)
    top = ask(client, "wine", tensors, outputs="top")
    label = client.post("/predict", json=example("wine")).json()["predictions"][0]["label"]
    assert top.as_numpy("outputs").tolist() == [[label.encode()]]
    only = ask(client, "wine", tensors, [tritonclient.http.InferRequestedOutput("residuals")])
    assert [output["name"] for output in only.get_response()["outputs"]] == ["residuals"]


def test_methods_that_sample_return_standard_errors(client):
    tensors = inputs_of(rows_of("breast_cancer"))
    found = ask(client, "breast_cancer", tensors, method="permutation", samples=40, seed=3)
    errors = found.as_numpy("standard_errors")
    assert errors.shape == found.as_numpy("attributions").shape
    assert (errors >= 0).all()
    assert errors.any()
    assert found.get_response()["parameters"]["method"] == "permutation"
    exact = ask(client, "wine", inputs_of(rows_of("wine")), method="exact")
    assert exact.as_numpy("standard_errors") is None


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"method": "magic"}, '"method" must be'),
        ({"method": "exact"}, '"exact" cannot explain breast_cancer'),
        ({"outputs": "chianti"}, "outputs[0]: unknown output; available outputs: "),
        ({"samples": 0}, '"samples" must be at least 1'),
        ({"seed": 0.5}, '"seed" must be a whole number'),
        ({"deadline_s": "soon"}, '"deadline_s" must be a number'),
    ],
)
def test_invalid_parameters_are_refused(parameters, words, client):
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 30], "data": rows_of("breast_cancer")["x"][0].tolist()}
    body = {"inputs": [tensor], "parameters": parameters}
    answer = client.post("/v2/models/breast_cancer/explain", json=body)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/json"
    assert words in answer.json()["error"]


def test_a_group_has_one_value_at_its_first_feature():
    columns = [{"name": "mass"}, {"name": "on_a", "group": "isle"}, {"name": "on_b", "group": "isle"}]
    spec = ModelSpec.model_validate(
        {"name": "m", "framework": "torch", "task": "regression", "output": {"names": ["age"]},
         "inputs": [{"name": "x", "features": columns}, {"name": "place", "kind": "tensor", "shape": [2]}]}
    )  # fmt: skip
    output = {"output": "age", "value": 4.0, "base_value": 1.0, "residual": 0.0}
    output["attributions"] = {"mass": 0.5, "isle": 2.0, "place": [0.25, 0.25]}
    found = tensors_of(spec, [{"outputs": [output]}])
    np.testing.assert_array_equal(found["attributions.x"], [[[0.5], [2.0], [0.0]]])
    np.testing.assert_array_equal(found["attributions.place"], [[[0.25], [0.25]]])


def test_a_tree_has_tensors_of_its_groups():
    spec = ModelSpec.model_validate(
        {"name": "m", "framework": "torch", "task": "regression", "output": {"names": ["age"]},
         "inputs": [{"name": "x", "features": [{"name": "mass"}, {"name": "size"}]}]}
    )  # fmt: skip
    output = {"output": "age", "value": 4.0, "base_value": 1.0, "residual": 0.0, "attributions": {"mass": 1, "size": 2}}
    group = {"group": "body", "members": ["mass", "size"], "value": 3.0, "standard_error": 0.5}
    found = tensors_of(spec, [{"outputs": [{**output, "tree": []}]}, {"outputs": [{**output, "tree": [group]}]}])
    assert found["groups"].tolist() == [[b""], [b"body"]]
    np.testing.assert_array_equal(found["group_attributions"], [[[0.0]], [[3.0]]])
    np.testing.assert_array_equal(found["group_standard_errors"], [[[0.0]], [[0.5]]])
    np.testing.assert_array_equal(found["attributions"], [[[1], [2]], [[1], [2]]])
    assert "groups" not in tensors_of(spec, [{"outputs": [output]}])


def test_a_slow_explanation_gets_a_503_with_its_address(narrow):
    """These clients do not know 202. They get the explanation's address in the error."""
    tensor = {"name": "image", "datatype": "FP32", "shape": [1, 8, 8, 1], "data": [0.5] * 64}
    asked = {"method": "permutation", "samples": 500}  # about a second
    answer = narrow.post("/v2/models/digits/explain", json={"inputs": [tensor], "parameters": asked})
    assert answer.status_code == 503, answer.text
    assert answer.headers["retry-after"]
    place = answer.json()["error"].split("GET ")[1].split()[0]
    state: dict[str, Any] = {}
    while state.get("status") not in ("done", "failed"):
        state = narrow.get(place).json()
    assert len(state["result"]["explanations"][0]["outputs"]) == 10
