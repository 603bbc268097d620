"""Interactions of pairs over every protocol, in notebooks and in pictures."""

import numpy as np
import pytest

import whyserve
from tests.conftest import rows_of


def asked(**options):
    return {"model": "penguins", "instances": rows_of("penguins", 2), "outputs": "all", "interactions": True, **options}


@pytest.fixture(scope="module")
def answer(client):
    answered = client.post("/explain", json=asked())
    assert answered.status_code == 200, answered.text
    return answered.json()


def matrices(answer):
    return np.array([[output["interactions"] for output in each["outputs"]] for each in answer["explanations"]])


def test_rows_of_the_matrix_sum_to_the_attributions(answer):
    assert answer["method"] == "exact"
    for each in answer["explanations"]:
        for output in each["outputs"]:
            assert list(output["attributions"]) == answer["interaction_players"]
            sums = np.sum(output["interactions"], axis=1)
            np.testing.assert_allclose(sums, list(output["attributions"].values()), atol=1e-12)


def test_all_protocols_and_the_notebook_have_the_same_matrices(client, answer):
    one = client.post("/v1/models/penguins:explain", json={k: x for k, x in asked().items() if k != "model"}).json()
    np.testing.assert_array_equal(matrices(one), matrices(answer))
    with whyserve.Client(str(client.base_url)) as caller:
        found = caller.explain("penguins", asked()["instances"], outputs="all", interactions=True)
    pairs = found.interaction_values
    assert pairs is not None
    assert pairs.shape == (2, len(answer["interaction_players"]), len(answer["interaction_players"]), 3)
    np.testing.assert_array_equal(np.moveaxis(pairs, -1, 1), matrices(answer))
    np.testing.assert_allclose(pairs.sum(2), found.values, atol=1e-12)
    np.testing.assert_array_equal(found.to_shap("Gentoo", interactions=True).values, pairs[..., 2])
    assert len(found[0].interaction_values) == 1  # type: ignore[arg-type]
    plain = client.post("/explain", json=asked(interactions=False)).json()
    assert "interactions" not in plain["explanations"][0]["outputs"][0]
    with pytest.raises(ValueError, match="no interactions"):
        whyserve.notebook.answers.from_answer(plain, asked()["instances"]).to_shap("Gentoo", interactions=True)


def test_a_tensor_has_the_outputs_last(client):
    tensor = {"name": client.get("/v2/models/linear").json()["inputs"][0]["name"], "datatype": "FP32"}
    row = list(rows_of("linear", 1)[0].values())
    tensor |= {"shape": [1, len(row)], "data": row}
    body = {"inputs": [tensor], "parameters": {"interactions": True}}
    outputs = {each["name"]: each for each in client.post("/v2/models/linear/explain", json=body).json()["outputs"]}
    pairs = np.reshape(outputs["interactions"]["data"], outputs["interactions"]["shape"])
    assert pairs.shape == (1, len(row), len(row), 1)
    np.testing.assert_allclose(pairs[0, ..., 0].sum(1), outputs["attributions"]["data"], atol=1e-9)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"method": "deep"}, "interactions"),
        ({"method": "permutation"}, "interactions"),
        ({"summary": True}, "interactions"),
        ({"model": "breast_cancer", "instances": rows_of("breast_cancer", 1)}, "method"),
    ],
)
def test_other_methods_and_too_many_players_are_refused(client, options, field):
    refused = client.post("/explain", json=asked(**options))
    assert refused.status_code == 422
    assert refused.json()["code"] == "unsupported_method"
    assert "exact" in refused.json()["detail"]
    assert refused.json()["errors"][0]["field"] == field


def test_a_picture_has_the_matrix(client):
    body = asked(instances=rows_of("penguins", 1), outputs=["Gentoo"])
    headers = {"Accept": "image/svg+xml"}
    with_pairs = client.post("/explain", json=body, headers=headers).text
    without = client.post("/explain", json={**body, "interactions": False}, headers=headers).text
    assert "main effects on the diagonal" in with_pairs
    assert "main effects on the diagonal" not in without
