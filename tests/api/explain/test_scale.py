"""Log-odds and "why A and not B" over every protocol, in files, in notebooks and in pictures."""

import csv
import math
import subprocess
import sys
import time

import numpy as np
import pytest

import whyserve
from tests.conftest import MODELS, ROOT, rows_of

SCALES = [
    ({"scale": "log_odds"}, {"scale": "log_odds"}),
    ({"instead_of": "barbera"}, {"scale": "log_ratio", "instead_of": "barbera"}),
]


def asked(**options):
    rows = rows_of("wine", 3)
    return {"model": "wine", "instances": rows, "outputs": ["barolo", "grignolino"], "method": "deep", **options}


@pytest.mark.parametrize(("options", "facts"), SCALES)
def test_values_are_the_scale_of_the_prediction(client, options, facts):
    answer = client.post("/explain", json=asked(**options)).json()
    assert {key: answer[key] for key in ("scale", "instead_of") if key in answer} == facts
    assert "expected_distance" not in answer
    for each in answer["explanations"]:
        for output in each["outputs"]:
            p, q = each["prediction"]["scores"][output["output"]], each["prediction"]["scores"]["barbera"]
            right = math.log(p / q) if "instead_of" in facts else math.log(p / (1 - p))
            assert output["value"] == pytest.approx(right, rel=1e-3)
            total = output["base_value"] + sum(output["attributions"].values())
            assert total == pytest.approx(right, rel=1e-3, abs=1e-3)
            assert abs(output["residual"]) < 1e-4


@pytest.mark.parametrize(("options", "facts"), SCALES)
def test_all_protocols_give_equal_numbers(client, artifacts, tmp_path, options, facts):
    body = asked(**options)
    answer = client.post("/explain", json=body).json()
    one = client.post("/v1/models/wine:explain", json={key: x for key, x in body.items() if key != "model"}).json()
    assert (one["explanations"], one["scale"]) == (answer["explanations"], answer["scale"])

    keys = list(body["instances"][0])
    data = [row[key] for row in body["instances"] for key in keys]
    tensor = {"name": client.get("/v2/models/wine").json()["inputs"][0]["name"], "datatype": "FP32"}
    tensor |= {"shape": [3, len(keys)], "data": data}
    parameters = {"outputs": body["outputs"], "method": "deep", **options}
    two = client.post("/v2/models/wine/explain", json={"inputs": [tensor], "parameters": parameters}).json()
    assert two["parameters"].items() >= facts.items()
    tensors = {each["name"]: np.reshape(each["data"], each["shape"]) for each in two["outputs"]}
    values = [[output["value"] for output in each["outputs"]] for each in answer["explanations"]]
    shares = [[list(o["attributions"].values()) for o in each["outputs"]] for each in answer["explanations"]]
    np.testing.assert_allclose(tensors["values"], values, rtol=1e-12)
    np.testing.assert_allclose(np.moveaxis(tensors["attributions"], -1, 1), shares, rtol=1e-12)

    with whyserve.Client(str(client.base_url)) as caller:
        found = caller.explain("wine", body["instances"], outputs=body["outputs"], method="deep", **options)
    assert found.scale == facts["scale"]
    np.testing.assert_allclose(np.moveaxis(found.values, -1, 1), shares, rtol=1e-12)
    assert found.to_shap("barolo").values.shape == (3, 13)

    with (tmp_path / "rows.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, keys)
        table.writeheader()
        table.writerows(body["instances"])
    flags = [part for key, value in options.items() for part in (f"--{key.replace('_', '-')}", value)]
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "explain", "wine", tmp_path / "rows.csv", "-o", tmp_path / "why.csv",
         "--outputs", "barolo,grignolino", "--method", "deep", *flags, "--models", MODELS, "--artifacts", artifacts],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    with (tmp_path / "why.csv").open() as file:
        lines = list(csv.DictReader(file))
    written = [float(line["value"]) for line in lines]
    np.testing.assert_allclose(written, np.ravel(values), rtol=1e-4, atol=1e-5)


def test_a_row_whose_label_is_instead_of_itself_is_named(client):
    rows = rows_of("wine", 30)
    scores = client.post("/predict", json={"model": "wine", "instances": rows}).json()["predictions"]
    number = next(number for number, each in enumerate(scores) if each["label"] == "barbera")
    answer = client.post("/explain", json={"model": "wine", "instances": rows, "instead_of": "barbera"})
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"instances[{number}]: ")


@pytest.mark.parametrize(
    ("model", "options", "code", "words"),
    [
        ("wine", {"instead_of": "merlot"}, "unknown_label", '"instead_of": unknown output'),
        ("wine", {"instead_of": "barolo", "outputs": ["barolo"]}, "invalid_input", "outputs[0]: the same output"),
        ("wine", {"scale": "decibels"}, "invalid_input", '"scale"'),
        ("linear", {"instead_of": "progression"}, "invalid_input", '"instead_of": the model has one output'),
        ("linear", {"scale": "log_odds"}, "invalid_input", '"scale": the output is no probability'),
    ],
)
def test_a_scale_that_does_not_fit_names_its_place(client, model, options, code, words):
    answer = client.post("/explain", json={"model": model, "instances": rows_of(model, 1), **options})
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    assert answer.json()["detail"].startswith(words)


def test_all_leaves_out_the_output_that_others_are_compared_with(client):
    answer = client.post("/explain", json=asked(outputs="all", instead_of="barolo")).json()
    assert [each["output"] for each in answer["explanations"][0]["outputs"]] == ["grignolino", "barbera"]


def test_each_scale_has_its_own_place_in_the_cache(client):
    body = asked(seed=91)
    plain, odds = client.post("/explain", json=body), client.post("/explain", json={**body, "scale": "log_odds"})
    assert [each.headers["X-Cache"] for each in (plain, odds)] == ["miss", "miss"]
    assert "scale" not in plain.json()
    assert (
        client.post("/explain", json={**body, "scale": "output"}).json()["explanations"]
        == (plain.json()["explanations"])
    )


def test_a_picture_names_the_scale_and_the_other_label(client):
    body = asked(instances=rows_of("wine", 1), outputs=["barolo"], instead_of="barbera")
    picture = client.post("/explain", json=body, headers={"Accept": "image/svg+xml"})
    assert picture.status_code == 200
    assert "Why wine says barolo instead of barbera" in picture.text
    assert "log ratio" in picture.text
    odds = {**body, "scale": "log_odds"}
    del odds["instead_of"]
    picture = client.post("/explain", json=odds, headers={"Accept": "image/svg+xml"}).text
    assert "log-odds" in picture
    assert "percentage" not in picture


def test_a_summary_is_on_the_scale(client):
    body = asked(summary=True, scale="log_odds")
    accepted = client.post("/explain", json=body).json()
    for _ in range(600):
        state = client.get(f"/explanations/{accepted['id']}").json()
        if state["status"] == "done":
            break
        time.sleep(0.1)
    mean = np.mean([
        output["value"]
        for each in client.post("/explain", json=asked(scale="log_odds")).json()["explanations"]
        for output in each["outputs"][:1]
    ])  # fmt: skip
    assert state["result"]["scale"] == "log_odds"
    assert state["result"]["summary"][0]["mean_value"] == pytest.approx(mean)
