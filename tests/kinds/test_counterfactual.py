"""Counterfactuals of the shipped tables: rows that the served model decides otherwise."""

import json
import time
from typing import Any

import numpy as np
import pytest

import whyserve
from tests.conftest import MODELS, example, rows_of
from whyserve.errors import InvalidInput

TABLES: dict[str, dict[str, Any]] = {
    "penguins": {"output": "Gentoo"},
    "wine": {},
    "breast_cancer": {},
    "linear": {"threshold": 150.0},
}


def ask(client, name, rows, **options):
    answer = client.post("/counterfactual", json={"model": name, "instances": rows, **options})
    assert answer.status_code == 200, answer.text
    return answer.json()["counterfactuals"]


def tensors(name, row, **parameters):
    """A V2 request for one row of a table of numbers."""
    data = {"name": "x", "shape": [1, len(row)], "datatype": "FP32", "data": list(row.values())}
    return {"inputs": [data], "parameters": parameters}


def decided(prediction, name):
    return prediction["value"] >= 150 if "value" in prediction else prediction["label"]


@pytest.mark.parametrize("name", TABLES)
def test_every_row_that_is_found_is_decided_otherwise_when_asked_again(name, client):
    rows, taken, found = rows_of(name, 40), [], 0
    for row in rows:
        began = time.perf_counter()
        (answer,) = ask(client, name, [row], count=3, **TABLES[name])
        taken.append(time.perf_counter() - began)
        assert answer["found"] or answer["none"].startswith("none found within 3 changed features, ")
        sets = []
        for each in answer["found"]:
            found += 1
            assert each["instance"] == {**row, **each["changes"]}
            assert all(row[key] != value for key, value in each["changes"].items())
            sets.append(set(each["changes"]))
            again = client.post("/predict", json={"model": name, "instances": [each["instance"]]}).json()
            assert again["predictions"][0] == each["prediction"]
            if "output" in TABLES[name]:
                assert (each["prediction"]["label"] == "Gentoo") != (answer["prediction"]["label"] == "Gentoo")
            else:
                assert decided(each["prediction"], name) != decided(answer["prediction"], name)
        assert [len(each) for each in sets] == sorted(len(each) for each in sets)
        assert not any(one < other or one == other for place, one in enumerate(sets) for other in sets[place + 1 :])
    assert found > 40
    assert np.quantile(taken, 0.95) < 1  # 0.3 s on an idle machine


def without_time(answer):
    return {key: value for key, value in answer.items() if key != "none"}


@pytest.mark.parametrize("as_text", [False, True])
def test_v2_answers_the_same_as_a_tensor_of_json(as_text, client):
    row, options = rows_of("linear", 1)[0], {"threshold": 150, "count": 2, "changes": {"bp": {"fixed": True}}}
    (expected,) = ask(client, "linear", [row], **options)
    request = tensors("linear", row, counterfactual=json.dumps(options) if as_text else options)
    answer = client.post("/v2/models/linear/explain", json=request)
    assert answer.status_code == 200, answer.text
    (tensor,) = answer.json()["outputs"]
    assert (tensor["name"], tensor["datatype"], tensor["shape"]) == ("counterfactual", "BYTES", [1])
    assert without_time(json.loads(tensor["data"][0])) == without_time(expected)
    assert answer.json()["parameters"] == {"manifest": client.get("/models/linear").json()["manifest"]}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"counterfactual": True}, '"threshold" is missing'),
        ({"counterfactual": "{"}, '"counterfactual" is not JSON'),
        ({"counterfactual": 3}, "the body must be an object"),
        ({"counterfactual": {"threshold": "a"}}, '"threshold" must be a number'),
        ({"counterfactual": {"threshold": 150, "output": "x"}}, '"output" must be an output of this model'),
        ({"counterfactual": {"threshold": 150, "changes": {"bmi": {"step": 0}}}}, '"changes.bmi.step"'),
        ({"counterfactual": {"threshold": 150}, "seed": 1}, '"seed" is an option of an explanation'),
    ],
)
def test_v2_names_the_place_of_a_fault(parameters, words, client):
    refused = client.post("/v2/models/linear/explain", json=tensors("linear", rows_of("linear", 1)[0], **parameters))
    assert refused.status_code == 400, refused.text
    assert words in refused.json()["error"]


def test_more_rows_than_a_request_may_have_are_refused(client):
    rows = rows_of("linear", 11)
    body = {"model": "linear", "instances": rows, "threshold": 150}
    refused = client.post("/counterfactual", json=body)
    assert (refused.status_code, refused.json()["code"]) == (422, "too_many_instances")
    request = tensors("linear", rows[0], counterfactual={"threshold": 150})
    request["inputs"][0] |= {"shape": [11, 2], "data": [value for row in rows for value in row.values()]}
    refused = client.post("/v2/models/linear/explain", json=request)
    assert (refused.status_code, refused.json()["error"]) == (400, "send at most 10 rows per request")


def test_a_client_and_a_folder_find_the_same(service, client, artifacts):
    rows = rows_of("penguins", 3)
    expected = [without_time(each) for each in ask(client, "penguins", rows, count=2)]
    with whyserve.Client(service.address) as asking:
        assert [without_time(each) for each in asking.counterfactual("penguins", rows, count=2)] == expected
    model = whyserve.load(MODELS / "penguins", artifacts)
    assert [without_time(each) for each in model.counterfactual(rows, count=2)] == expected
    for options, place in (({"count": 0}, "count"), ({"output": "Emu"}, "output"), ({"speed": 1}, "speed")):
        with pytest.raises(InvalidInput, match=place):
            model.counterfactual(rows, **options)


def test_what_is_found_keeps_its_decision_in_one_batch(client):
    rows = rows_of("wine", 10)
    found = [each for answer in ask(client, "wine", rows, count=3) for each in answer["found"]]
    again = client.post("/predict", json={"model": "wine", "instances": [each["instance"] for each in found]}).json()
    labels = [each["label"] for each in again["predictions"]]
    assert len(labels) > 10
    assert labels == [each["prediction"]["label"] for each in found]


def test_what_model_toml_and_the_request_fix_stays(client):
    row = example("penguins")["instances"][0]
    (answer,) = ask(client, "penguins", [row], count=5, changes={"bill_depth_mm": {"only": "down"}})
    assert answer["found"]
    for each in answer["found"]:
        assert "sex" not in each["changes"]  # fixed in model.toml
        assert each["changes"].get("bill_depth_mm", 0) <= row["bill_depth_mm"]
        if grams := each["changes"].get("body_mass_g"):
            assert (grams - row["body_mass_g"]) % 25 == 0  # a step of model.toml
        near = each["nearest_background"]
        assert near["instance"] == rows_of("penguins", near["row"] + 1)[-1]
    fixed = {key: {"fixed": True} for key in row}
    (answer,) = ask(client, "penguins", [row], changes=fixed)
    assert answer["found"] == []
    assert answer["none"].startswith("none found within 3 changed features, 0 rows")


def test_rows_of_the_background_are_shown_only_where_model_toml_allows_it(client):
    (answer,) = ask(client, "wine", rows_of("wine", 1))
    assert answer["found"]
    assert "nearest_background" not in answer["found"][0]


@pytest.mark.parametrize(
    ("name", "options", "field"),
    [
        ("linear", {}, "threshold"),
        ("wine", {"threshold": 0.3}, "output"),
        ("wine", {"output": "merlot"}, "output"),
        ("wine", {"changes": {"age": {"fixed": True}}}, "changes.age"),
        ("wine", {"changes": {"ash": {"range": [3, 1]}}}, "changes.ash.range"),
        ("wine", {"changes": {"ash": {"only": "left"}}}, "changes.ash.only"),
        ("penguins", {"changes": {"island": {"only": "up"}}}, "changes.island"),
        ("penguins", {"changes": {"island": {"categories": ["Mars"]}}}, "changes.island.categories"),
        ("wine", {"changes": {"ash": {"categories": ["red"]}}}, "changes.ash"),
        ("wine", {"changes": {"ash": {"fixed": "no"}}}, "changes.ash.fixed"),
        ("wine", {"changes": {"ash": {"speed": 1}}}, "changes.ash.speed"),
        ("wine", {"most_changed": 4}, "most_changed"),
        ("wine", {"count": 0}, "count"),
        ("wine", {"deadline_s": 1e9}, "deadline_s"),
    ],
)
def test_a_wrong_request_names_the_field(name, options, field, client):
    refused = client.post("/counterfactual", json={"model": name, "instances": rows_of(name, 1), **options})
    assert refused.status_code == 422, refused.text
    assert refused.json()["errors"][0]["field"] == field


def test_a_model_that_takes_no_table_has_none(client):
    refused = client.post("/counterfactual", json=example("digits"))
    assert refused.status_code == 422
    assert "inputs are all tabular" in refused.json()["detail"]


def test_the_document_has_the_types_of_tables(client):
    document = client.get("/openapi.json").json()
    assert "/counterfactual" in document["paths"]
    assert "WineCounterfactualRequest" in document["components"]["schemas"]
    assert "DigitsCounterfactualRequest" not in document["components"]["schemas"]


def test_similar_rows_are_the_nearest_with_their_outcome(client):
    row = rows_of("penguins", 4)[3]
    asked = {"model": "penguins", "instances": [row], "similar": 5}
    (each,) = client.post("/explain", json=asked).json()["explanations"]
    shown = each["similar"]
    assert (shown[0]["row"], shown[0]["distance"], shown[0]["instance"]) == (3, 0.0, row)
    assert [near["distance"] for near in shown] == sorted(near["distance"] for near in shown)
    instances = [near["instance"] for near in shown]
    assert instances == [rows_of("penguins", near["row"] + 1)[-1] for near in shown]
    predicted = client.post("/predict", json={"model": "penguins", "instances": instances}).json()["predictions"]
    assert [near["prediction"]["label"] for near in shown] == [one["label"] for one in predicted]
    assert 0 < each["more_unusual_share"] < 1
    odd = {**row, "bill_length_mm": 90.0, "body_mass_g": 9000.0}
    (far,) = client.post("/explain", json={**asked, "instances": [odd], "similar": 0}).json()["explanations"]
    assert far["more_unusual_share"] == 0
    assert "similar" not in far


def test_a_background_that_may_not_be_shown_gives_the_share_only(client):
    rows = rows_of("wine", 9)
    refused = client.post("/explain", json={"model": "wine", "instances": rows[:1], "similar": 5})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "similar"
    answer = client.post("/explain", json={"model": "wine", "instances": rows[:1], "similar": 0}).json()
    assert 0 < answer["explanations"][0]["more_unusual_share"] < 1
    own = {"model": "wine", "instances": rows[:1], "similar": 2, "background": rows[1:]}
    (each,) = client.post("/explain", json=own).json()["explanations"]
    assert all(near["instance"] == rows[1 + near["row"]] for near in each["similar"])
    picture = client.post("/explain", json={**example("digits"), "similar": 0})
    assert picture.json()["errors"][0]["field"] == "similar"
