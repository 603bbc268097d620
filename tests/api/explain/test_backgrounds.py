"""Backgrounds: the model's default, another named one, or rows of the request."""

import numpy as np
import pytest

from tests.api.test_bad_input import check
from tests.conftest import MODELS, example, numbers_of
from whyserve.model.arrays import read_npz
from whyserve.model.manifest import read_manifest, sha256
from whyserve.model.rows import as_row
from whyserve.model.spec import read_spec

ROW = {**example("penguins")["instances"][0]}
DEFAULT_REASON = "most accurate method within"


def rows_of(name, file, count):
    spec, arrays = read_spec(MODELS / name), read_npz((MODELS / name / file).read_bytes())
    return [as_row(spec, arrays, number) for number in range(count)]


def ask(client, name="penguins", **change):
    answer = client.post("/explain", json={**example(name), "outputs": "all", **change})
    assert answer.status_code == 200, answer.text
    return answer.json()


def mean_scores(client, name, rows):
    predictions = client.post("/predict", json={"model": name, "instances": rows}).json()["predictions"]
    return {label: np.mean([each["scores"][label] for each in predictions]) for label in predictions[0]["scores"]}


def adds_up(answer):
    for explanation in answer["explanations"]:
        for output in explanation["outputs"]:
            total = output["base_value"] + sum(output["attributions"].values())
            assert output["value"] == pytest.approx(total + output["residual"], abs=1e-9)
            assert abs(output["residual"]) < 1e-5


def test_a_named_background_changes_the_base_value(client):
    answer = ask(client, background="adelie")
    content = (MODELS / "penguins" / "adelie.npz").read_bytes()
    assert answer["background"] == {"name": "adelie", "rows": 50, "sha256": sha256(content)}
    expected = mean_scores(client, "penguins", rows_of("penguins", "adelie.npz", 50))
    for output in answer["explanations"][0]["outputs"]:
        assert output["base_value"] == pytest.approx(expected[output["output"]], abs=1e-5)
    adds_up(answer)


def test_rows_of_the_request_are_a_background(client):
    rows = rows_of("penguins", "background.npz", 7)
    answer = ask(client, background=rows)
    assert (answer["background"]["name"], answer["background"]["rows"]) == ("request", 7)
    expected = mean_scores(client, "penguins", rows)
    for output in answer["explanations"][0]["outputs"]:
        assert output["base_value"] == pytest.approx(expected[output["output"]], abs=1e-5)
    adds_up(answer)
    other = ask(client, background=rows[:6])
    assert other["background"]["sha256"] != answer["background"]["sha256"]
    # The default background's rows, sent with the request, give the same base value.
    whole = ask(client, background=rows_of("penguins", "background.npz", 100))
    default = ask(client, background="default")
    for one, two in zip(whole["explanations"][0]["outputs"], default["explanations"][0]["outputs"], strict=True):
        assert one["attributions"] == pytest.approx(two["attributions"], abs=1e-5)


@pytest.mark.parametrize("name", ["penguins", "digits", "wine", "sunspots"])
def test_an_uncertified_background_has_no_expected_distance(name, client):
    """The background is the explained row itself. Every method answers, without an expected distance."""
    against = ask(client, name, background=example(name)["instances"])
    assert against["method"] == ask(client, name)["method"]
    assert "not with this one" in against["method_reason"]
    assert "expected_distance" not in against
    for output in against["explanations"][0]["outputs"]:
        assert output["base_value"] == pytest.approx(output["value"], abs=1e-5)
        flat = np.concatenate([np.ravel(numbers_of(value)) for value in output["attributions"].values()])
        np.testing.assert_allclose(flat, 0, atol=1e-5)


def test_the_default_background_is_named_and_certified(client):
    answer = ask(client)
    assert answer["background"]["name"] == "default"
    assert answer["method_reason"].startswith(DEFAULT_REASON)
    assert "expected_distance" in answer
    assert ask(client, background="default")["explanations"] == answer["explanations"]


def test_backgrounds_are_not_mixed_up(client):
    """In the cache, and among jobs that wait together."""
    given = rows_of("penguins", "background.npz", 3)
    bases = set()
    for background in ("default", "adelie", given, given[:2]):
        first = client.post("/explain", json={**example("penguins"), "seed": 21, "background": background})
        again = client.post("/explain", json={**example("penguins"), "seed": 21, "background": background})
        assert (first.headers["X-Cache"], again.headers["X-Cache"]) == ("miss", "hit")
        assert again.json()["background"] == first.json()["background"]
        assert again.json()["explanations"] == first.json()["explanations"]
        bases.add(first.json()["explanations"][0]["outputs"][0]["base_value"])
    assert len(bases) == 4


def test_a_summary_uses_the_background(client):
    accepted = client.post("/explain", json={**example("penguins"), "summary": True, "background": "adelie"})
    assert accepted.status_code == 202
    text = client.get(f"{accepted.headers['Location']}/events").text
    assert '"name":"adelie"' in text


def test_open_inference_requests_name_a_background(client, artifacts):
    manifest, _ = read_manifest(artifacts / "penguins")
    arrays = read_npz((MODELS / "penguins" / "background.npz").read_bytes())
    inputs = [
        {"name": item.name, "datatype": "FP32" if item.dtype == "float32" else "INT64",
         "shape": [1, *item.row_shape], "data": arrays[item.name][:1].ravel().tolist()}
        for item in manifest.spec.inputs
    ]  # fmt: skip
    place = "/v2/models/penguins/explain"
    bases = []
    for background in ("default", "adelie"):
        answer = client.post(place, json={"inputs": inputs, "parameters": {"background": background}})
        assert answer.status_code == 200, answer.text
        assert answer.json()["parameters"]["background"] == background
        assert answer.json()["parameters"]["background_sha256"] == manifest.background(background)[1]
        bases.append(next(o["data"] for o in answer.json()["outputs"] if o["name"] == "base_values"))
    assert bases[0] != bases[1]
    refused = client.post(place, json={"inputs": inputs, "parameters": {"background": "gentoo"}})
    assert refused.status_code == 400
    assert "background" in refused.json()["error"]


BAD = {
    "another name": ("gentoo", "background"),
    "null": (None, "background"),
    "a number": (3, "background"),
    "no rows": ([], "background"),
    "too many": ([ROW] * 101, "background"),
    "a row is null": ([ROW, None], "background[1]"),
    "a feature is missing": ([ROW, {k: v for k, v in ROW.items() if k != "sex"}], "background[1].sex"),
    "a category that is none": ([{**ROW, "island": "Elba"}], "background[0].island"),
    "a string for a number": ([ROW, ROW, {**ROW, "bill_depth_mm": "18"}], "background[2].bill_depth_mm"),
    "too large a number": ([ROW, {**ROW, "body_mass_g": 1e300}], "background[1].body_mass_g"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_fault_names_its_place(case, client):
    background, field = BAD[case]
    answer = client.post("/explain", json={**example("penguins"), "background": background})
    check(answer, 422, "invalid_input", None, field)
    assert "Elba" not in answer.text


def test_a_background_that_overflows_is_invalid_input(client):
    row = {"bmi": 3e38, "bp": -3e38}
    answer = client.post("/explain", json={**example("linear"), "background": [example("linear")["instances"][0], row]})
    check(answer, 422, "invalid_input", None, "background[1]")


def test_a_duplicate_key_in_a_background_is_named(client):
    body = '{"model": "linear", "instances": [{"bmi": 3, "bp": 9}], "background": [{"bmi": 1, "bp": 2, "bp": 3}]}'
    check(client.post("/explain", content=body), 422, "duplicate_key", None, "background[0].bp")


def test_predict_accepts_no_background(client):
    answer = client.post("/predict", json={**example("penguins"), "background": "adelie"})
    check(answer, 422, "invalid_input", None, "background")


def test_an_idempotency_key_belongs_to_one_background(client):
    headers = {"Idempotency-Key": "against", "Prefer": "respond-async"}
    asked = {**example("penguins"), "seed": 22}
    assert client.post("/explain", json={**asked, "background": "adelie"}, headers=headers).status_code == 202
    check(client.post("/explain", json=asked, headers=headers), 422, "idempotency_key_reused", None, None)
