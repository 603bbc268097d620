"""Labels of which several can be on: each with a threshold of its own, in every interface."""

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest
import torch
from torch import nn

from tests.kinds.service import client_of
from whyserve.errors import InvalidInput
from whyserve.export.package.package import package
from whyserve.notebook.client import Client
from whyserve.notebook.explainer import Explainer
from whyserve.notebook.folder import load
from whyserve.processes import table
from whyserve.settings import TableSettings

LABELS = ["red", "green", "blue"]
FEATURES = ["a", "b", "c", "d"]
ROWS = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
THRESHOLDS = {"red": 0.3, "blue": 0.8}
torch.manual_seed(8)
LOGITS = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).eval()
with torch.no_grad():
    next(LOGITS[2].parameters()).mul_(6)
NETWORKS = {"colours": nn.Sequential(LOGITS, nn.Sigmoid()).eval(), "colour_logits": LOGITS}
with torch.no_grad():
    PROBABILITIES = NETWORKS["colours"](torch.from_numpy(ROWS)).numpy()
ON = np.array([[0.3, 0.5, 0.8]], np.float32) <= PROBABILITIES
NAMES = [[label for label, on in zip(LABELS, row, strict=True) if on] for row in ON]
# A row of none, of one, of two and of three labels: answers must cope with each number.
SHOWN = [next(place for place, names in enumerate(NAMES) if len(names) == count) for count in (0, 1, 2, 3)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("multilabel")
    for name, network in NETWORKS.items():
        report = package(
            network, root / "models" / name, background=ROWS, features=FEATURES, artifacts=root / "artifacts",
            labels=LABELS, task="multilabel", thresholds=THRESHOLDS,
        )  # fmt: skip
        counts = ", ".join(f"{label} {count}" for label, count in zip(LABELS, ON.sum(0), strict=True))
        assert f"labels of the 30 background rows: {counts}" in repr(report)
    return root


@pytest.fixture(scope="module")
def client(root):
    with client_of(root) as client:
        yield client


def instances(places):
    return [dict(zip(FEATURES, map(float, ROWS[place]), strict=True)) for place in places]


def ask(client, path, **body):
    answered = client.post(path, json=body)
    assert answered.status_code == 200, answered.text
    return answered.json()


@pytest.mark.parametrize("model", NETWORKS)
def test_a_prediction_has_each_label_that_reaches_its_threshold(model, client):
    answers = ask(client, "/predict", model=model, instances=instances(range(30)))["predictions"]
    assert [answer["labels"] for answer in answers] == NAMES
    with torch.no_grad():
        expected = NETWORKS[model](torch.from_numpy(ROWS)).numpy()
    np.testing.assert_allclose([list(answer["scores"].values()) for answer in answers], expected, rtol=1e-4, atol=1e-5)
    assert ask(client, f"/v1/models/{model}:predict", instances=instances(SHOWN))["predictions"] == [
        answers[place] for place in SHOWN
    ]


@pytest.mark.parametrize("model", NETWORKS)
def test_the_labels_that_are_on_are_explained(model, client):
    body = {"model": model, "instances": instances(SHOWN), "outputs": "positive"}
    for _ in ("computed", "from the cache"):
        explained = ask(client, "/explain", **body)["explanations"]
        assert [[output["output"] for output in each["outputs"]] for each in explained] == [NAMES[row] for row in SHOWN]
        assert [each["prediction"]["labels"] for each in explained] == [NAMES[row] for row in SHOWN]
    every = ask(client, "/explain", **{**body, "outputs": "all"})["explanations"]
    for each, whole in zip(explained, every, strict=True):
        known = {output["output"]: output for output in whole["outputs"]}
        for output in each["outputs"]:
            assert abs(output["residual"]) < 1e-5
            assert output["attributions"] == pytest.approx(known[output["output"]]["attributions"], abs=1e-6)
    top = ask(client, "/explain", model=model, instances=instances(SHOWN))["explanations"]
    best = [LABELS[PROBABILITIES[place].argmax()] for place in SHOWN]
    assert [[output["output"] for output in each["outputs"]] for each in top] == [[name] for name in best]


def test_tensors_of_rows_with_fewer_labels_end_in_outputs_without_a_name(client):
    inputs = [{"name": "input", "datatype": "FP32", "shape": [4, 4], "data": ROWS[SHOWN].tolist()}]
    path = "/v2/models/colours/explain"
    answer = ask(client, path, inputs=inputs, parameters={"outputs": "positive"})
    tensors = {each["name"]: np.reshape(each["data"], each["shape"]) for each in answer["outputs"]}
    assert [[name for name in row if name] for row in tensors["outputs"].tolist()] == [NAMES[place] for place in SHOWN]
    assert tensors["attributions"].shape == (4, 4, 3)
    np.testing.assert_allclose(
        tensors["values"] - tensors["base_values"], tensors["attributions"].sum(1) + tensors["residuals"], atol=1e-6
    )
    assert not tensors["attributions"][0].any()
    one = [{"name": "input", "datatype": "FP32", "shape": [1, 4], "data": ROWS[SHOWN[0]].tolist()}]
    refused = client.post(path, json={"inputs": one, "parameters": {"outputs": "positive"}})
    assert refused.status_code == 400
    assert "no label of these rows is on" in refused.json()["error"]


def test_the_document_types_the_labels(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    assert schemas["ColoursPrediction"]["properties"]["labels"]["items"]["enum"] == LABELS
    assert "positive" in str(schemas["ColoursExplainRequest"]["properties"]["outputs"])
    assert client.get("/models").json()["models"][0]["task"] == "multilabel"


def test_a_picture_needs_an_explained_label(client):
    body = {"model": "colours", "outputs": "positive"}
    for count, place in enumerate(SHOWN):
        asked = {**body, "instances": instances([place])}
        answered = client.post("/explain", json=asked, headers={"Accept": "image/png"})
        assert answered.status_code == (200 if count == 1 else 422)
    assert "must name one output for a picture, such as" in answered.json()["detail"]


def test_a_summary_is_over_the_rows_where_a_label_is_on(client):
    with Client(str(client.base_url)) as own:
        assert set(own.summary("colours", instances(range(30)), outputs="positive").columns) == set(LABELS)
        explanation = own.explain("colours", instances(SHOWN), outputs="positive")
        assert explanation.outputs == tuple(tuple(NAMES[place]) for place in SHOWN)


def check(explanation):
    assert explanation.outputs == tuple(tuple(NAMES[place]) for place in SHOWN)
    assert explanation.values.shape == (4, 4, 3)
    assert [int((~np.isnan(row)).sum()) for row in explanation.base_values] == [0, 1, 2, 3]
    assert len(explanation.to_frame()) == 6
    assert "largest residual" in repr(explanation)
    assert "<svg" in explanation._repr_html_()
    assert explanation[3].output("green").predictions == pytest.approx(PROBABILITIES[SHOWN[3], 1], abs=1e-5)


def test_notebooks(root):
    model = load(root / "models" / "colours", root / "artifacts")
    assert [answer["labels"] for answer in model.predict(ROWS)] == NAMES
    assert list(model.predict(ROWS).to_frame().columns) == ["labels", *LABELS]
    check(model.explain(ROWS[SHOWN], outputs="positive", progress=False))
    explainer = Explainer(
        NETWORKS["colours"], ROWS, "exact", labels=LABELS, task="multilabel", thresholds=[0.3, 0.5, 0.8]
    )
    check(explainer(ROWS[SHOWN], outputs="positive"))
    for explain in (model.explain, explainer):
        with pytest.raises(InvalidInput, match="no label of these rows is on"):
            explain(ROWS[SHOWN[:1]], outputs="positive")


def test_a_file_has_a_line_for_each_label_that_is_on(root, tmp_path):
    pd.DataFrame(ROWS[SHOWN], columns=FEATURES).to_csv(tmp_path / "rows.csv", index=False)
    settings = TableSettings(models=root / "models", artifacts=root / "artifacts")
    table.main(
        settings, model="colours", rows=[str(tmp_path / "rows.csv")],
        output=tmp_path / "why.parquet", method="auto", outputs="positive", samples=None, seed=0, background="default",
        drop=(),
    )  # fmt: skip
    lines = pyarrow.parquet.read_table(tmp_path / "why.parquet").to_pylist()
    assert [(line["row"], line["output"]) for line in lines] == [
        (number + 1, label) for number, place in enumerate(SHOWN) for label in NAMES[place]
    ]
