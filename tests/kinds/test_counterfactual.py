"""Counterfactuals of the shipped tables: rows that the served model decides otherwise."""

import time
from typing import Any

import numpy as np
import pytest

from tests.conftest import example, rows_of

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
