"""whyserve.load: a model folder in process, with the service's numbers to the bit."""

import numpy as np
import pandas as pd
import pytest

import whyserve
from tests.conftest import MODELS, example, rows_of
from whyserve.errors import InvalidInput, UnsupportedMethod


@pytest.mark.parametrize("name", ["penguins", "wine", "digits", "sunspots", "places", "breast_cancer"])
def test_its_numbers_are_the_service_s(client, artifacts, name):
    model = whyserve.load(MODELS / name, artifacts)
    rows = example(name)["instances"] if name == "places" else rows_of(name, 3)
    assert (
        list(model.predict(rows))
        == client.post("/predict", json={"model": name, "instances": rows}).json()["predictions"]
    )
    answer = client.post("/explain", json={"model": name, "instances": rows}).json()
    explanation = model.explain(rows)
    assert explanation.method == answer["method"]
    assert explanation.method_reason == answer.get("method_reason")
    for row, each in enumerate(answer["explanations"]):
        (output,) = each["outputs"]
        assert explanation.outputs[row] == (output["output"],)
        assert explanation.predicted[row, 0] == output["value"]
        assert explanation.base[row, 0] == output["base_value"]
        flat = numbers(output["attributions"])
        np.testing.assert_array_equal(np.ravel(explanation[row].values[0]), flat)
    assert "<svg" in explanation._repr_html_()


def numbers(part):
    if isinstance(part, dict):
        return (
            [part["value"]]
            if "player" in part or "token" in part
            else [x for each in part.values() for x in numbers(each)]
        )
    return [x for each in part for x in numbers(each)] if isinstance(part, list) else [part]


def test_a_frame_an_array_and_instances_are_the_same_rows(artifacts):
    model = whyserve.load(MODELS / "wine", artifacts)
    rows = rows_of("wine", 4)
    frame = pd.DataFrame(rows)
    for form in (frame, frame[frame.columns[::-1]], frame.to_numpy(np.float32)):
        assert model.predict(form) == model.predict(rows)
    assert list(model.predict(rows).to_frame().columns) == ["label", "barolo", "grignolino", "barbera"]
    explanation = model.explain(frame, outputs="all", method="deep")
    assert explanation.values.shape == (4, 13, 3)


@pytest.mark.parametrize(
    "how",
    [
        {"reasons": True, "language": "de", "similar": 2},
        {"interactions": True, "similar": 0},
        {"background": rows_of("penguins", 9)[4:], "similar": 1},
    ],
    ids=["reasons", "interactions", "background"],
)
def test_it_takes_the_options_of_the_service(how, client, artifacts):
    rows = [{**row, "body_mass_g": 9000.0} if number else row for number, row in enumerate(rows_of("penguins", 2))]
    answer = client.post("/explain", json={"model": "penguins", "instances": rows, **how}).json()
    explanation = whyserve.load(MODELS / "penguins", artifacts).explain(rows, **how)
    assert explanation.facts["background"] == answer["background"]
    for name in ("reasons", "similar", "more_unusual_share", "out_of_range"):
        each = [row.get(name) for row in answer["explanations"]]
        has_any = any(part is not None for part in each)
        assert near(getattr(explanation, name), each if has_any else None)
        assert near(getattr(explanation[1], name), each[1:] if has_any else None)
    first = [row["outputs"][0] for row in answer["explanations"]]
    assert [names[0] for names in explanation.outputs] == [each["output"] for each in first]
    np.testing.assert_array_equal(explanation.predicted[:, 0], [each["value"] for each in first])
    if explanation.interactions is not None:
        np.testing.assert_allclose(explanation.interactions[:, 0], [each["interactions"] for each in first], atol=1e-6)
    assert (explanation.interactions is not None) == ("interactions" in how)


def near(one, other):
    """Whether two parts of answers are equal, up to the last digits of float32."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(near(each, other[key]) for key, each in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(near, one, other))
    return one == other or (isinstance(one, float) and abs(one - other) <= 1e-6)


def test_wrong_use_is_refused(artifacts):
    model = whyserve.load(MODELS / "penguins", artifacts)
    row = example("penguins")["instances"][0]
    with pytest.raises(InvalidInput, match="row 0: missing: sex; unknown: gender"):
        model.predict([{**{key: value for key, value in row.items() if key != "sex"}, "gender": "male"}])
    with pytest.raises(InvalidInput, match="the rows are not what penguins takes"):
        model.predict([{**row, "body_mass_g": "heavy"}])
    with pytest.raises(InvalidInput, match='unknown background "rich"; available backgrounds: default, adelie'):
        model.explain([row], background="rich")
    with pytest.raises(InvalidInput, match='"language" must be one of en, de'):
        model.explain([row], reasons=True, language="fr")
    with pytest.raises(InvalidInput, match='"similar": must be 0 to 20'):
        model.explain([row], similar=21)
    with pytest.raises(InvalidInput, match="row 0: missing: sex"):
        model.explain([row], background=[{key: value for key, value in row.items() if key != "sex"}])
    with pytest.raises(UnsupportedMethod):
        whyserve.load(MODELS / "breast_cancer", artifacts).explain(rows_of("breast_cancer", 1), method="exact")


def test_a_folder_without_an_export_is_exported(tmp_path):
    model = whyserve.load(MODELS / "fclayer", tmp_path / "artifacts")
    answer = model.predict([{"bmi": 36.1, "bp": 115.0}])
    assert answer[0]["value"] == pytest.approx(274.494, rel=1e-5)
    assert (tmp_path / "artifacts" / "fclayer" / "manifest.json").is_file()
