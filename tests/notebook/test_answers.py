"""Answers of a running service, drawn by shap's own plots."""

from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
import shap

from tests.conftest import example, rows_of
from tests.pictures import text_of
from whyserve import to_shap
from whyserve.notebook.answers import from_answer

mpl.use("Agg")
import matplotlib.pyplot as plt

# What shap and matplotlib say of each other's ways.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:shap", "ignore::PendingDeprecationWarning:shap")


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    yield
    plt.close("all")


def words_of(figure):
    return {text.get_text() for axes in figure.axes for text in axes.findobj(mpl.text.Text)}


def test_an_explanation_keeps_every_fact_of_the_answer(client):
    asked = example("wine")
    answer = client.post("/explain", json=asked).json() | {"device": "cuda:0", "certified_on": "cpu"}
    rows = answer["explanations"]
    assert {**from_answer(answer, asked["instances"]).facts, "explanations": rows} == answer


def test_a_waterfall_and_a_force_of_a_table(client):
    asked = example("penguins")
    explanation = to_shap(client.post("/explain", json=asked).json(), asked["instances"])
    assert explanation.values.shape == (1, 6)
    assert explanation.feature_names == list(asked["instances"][0])
    shap.plots.waterfall(explanation[0], show=False)
    drawn = " ".join(words_of(plt.gcf()))
    for name, value in asked["instances"][0].items():
        assert name in drawn
        assert not isinstance(value, str) or value in drawn
    shap.plots.force(explanation[0], matplotlib=True, show=False)
    assert f"{explanation.base_values[0] + explanation.values[0].sum():.2f}" in " ".join(words_of(plt.gcf()))


def test_a_beeswarm_of_many_rows_of_one_output(client):
    asked = {**example("wine"), "outputs": ["barolo"]}
    asked["instances"] = [{k: v * (1 + n / 50) for k, v in asked["instances"][0].items()} for n in range(12)]
    answer = client.post("/explain", json=asked).json()
    explanation = to_shap(answer, asked["instances"], output="barolo")
    assert explanation.output_names == "barolo"
    outputs = [each["outputs"][0] for each in answer["explanations"]]
    np.testing.assert_allclose(explanation.values[:, 0], [output["attributions"]["alcohol"] for output in outputs])
    np.testing.assert_allclose(explanation.base_values, [output["base_value"] for output in outputs])
    shap.plots.heatmap(explanation, show=False)
    assert "alcohol" in " ".join(words_of(plt.gcf()))


def test_an_image(client):
    asked = {**example("digits"), "players": {}, "samples": 4}
    explanation = to_shap(client.post("/explain", json={**asked, "outputs": "all"}).json(), asked["instances"], "3")
    assert explanation.values.shape == (1, 8, 8, 1, 1)
    np.testing.assert_array_equal(explanation.data[0], np.array(asked["instances"][0]["image"]))
    shap.plots.image(explanation, show=False)
    assert "3" in words_of(plt.gcf())


def test_a_text_is_drawn_by_its_pieces(client):
    asked = example("places")
    asked["instances"].append({"name": "Île-de-France"})
    answer = client.post("/explain", json={**asked, "outputs": ["French"]}).json()
    explanation = to_shap(answer, asked["instances"], "French")
    assert explanation.output_names == "French"
    for row, (explained, instance) in enumerate(zip(answer["explanations"], asked["instances"], strict=True)):
        *pieces, padding = explanation.data[row]
        assert ("".join(pieces), padding) == (instance["name"], "[PAD]")
        (output,) = explained["outputs"]
        total = explanation.base_values[row] + explanation.values[row].sum() + output["residual"]
        assert total == pytest.approx(output["value"], abs=1e-9)
    assert list(explanation.data[0][:2]) == ["Naujoji", " Z"]
    html = shap.plots.text(explanation[0], display=False)
    for piece in explanation.data[0]:
        assert piece.strip() in html
    assert "Zelandija" not in html  # it is in pieces
    assert shap.plots.text(explanation, display=False).count("Naujoji") >= 1


def test_a_series_has_a_bar_a_step(client):
    asked = {**example("sunspots"), "players": {}}
    explanation = to_shap(client.post("/explain", json=asked).json(), asked["instances"])
    assert explanation.values.shape[:2] == (1, 20)


def test_an_answer_of_other_rows_or_outputs_is_refused(client):
    asked = example("wine")
    answer = client.post("/explain", json=asked).json()
    with pytest.raises(ValueError, match="explains 1 rows, but 2 instances were given"):
        to_shap(answer, asked["instances"] * 2)
    with pytest.raises(ValueError, match='"merlot" was not explained'):
        to_shap(answer, asked["instances"], "merlot")


def test_rows_explained_for_different_labels_are_not_drawn_together(client):
    instances = rows_of("penguins", 40)
    answer = client.post("/explain", json={"model": "penguins", "instances": instances}).json()
    assert len({each["outputs"][0]["output"] for each in answer["explanations"]}) > 1
    with pytest.raises(ValueError, match="different outputs"):
        to_shap(answer, instances)
    assert from_answer(answer, instances)[3].to_shap().values.shape == (1, 6)


def test_an_image_that_was_sent_as_a_picture_is_shown_as_one(client):
    levels = np.arange(64).reshape(8, 8) * 4
    instances = [{"image": text_of(levels)}]
    body = {"model": "digits", "instances": instances, "players": {}}
    explanation = to_shap(client.post("/explain", json=body).json(), instances)
    np.testing.assert_array_equal(explanation.data[0, ..., 0], levels)
    shap.plots.image(explanation, show=False)
    assert plt.gcf().axes
