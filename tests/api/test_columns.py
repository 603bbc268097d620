"""Rows as columns give the answers of the same rows as instances."""

import pytest

from tests.conftest import example, rows_of, shipped


def some_rows(name, count):
    rows = example(name)["instances"]
    return rows * count if isinstance(next(iter(rows[0].values())), str) and len(rows[0]) == 1 else rows_of(name, count)


def as_columns(rows):
    return {key: [row[key] for row in rows] for key in rows[0]}


@pytest.mark.parametrize("count", [1, 3, 64])
@pytest.mark.parametrize("name", shipped())
def test_columns_are_predicted_like_instances(name, count, client):
    rows = some_rows(name, count)
    answers = [
        client.post("/predict", json={"model": name, **given})
        for given in ({"instances": rows}, {"columns": as_columns(rows)})
    ]
    assert answers[0].status_code == 200, answers[0].text
    assert answers[0].json() == answers[1].json()


@pytest.mark.parametrize("name", ["wine", "penguins", "places"])
def test_columns_are_explained_like_instances(name, client):
    rows = some_rows(name, 3)
    answers = [
        client.post("/explain", json={"model": name, "method": "permutation", "samples": 2, **given}).json()
        for given in ({"instances": rows}, {"columns": as_columns(rows)})
    ]
    assert answers[0]["explanations"] == answers[1]["explanations"]


def test_the_document_has_the_type_of_the_columns(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    column = schemas["LinearColumns"]["properties"]["bmi"]
    assert (column["type"], column["items"]["type"]) == ("array", "number")
    assert schemas["LinearPredictRequest"]["required"] == ["model"]
