"""Missing values in a served model: they reach the network as NaN or as a category of their own, or are filled."""

import json
import shutil
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import whyserve
from tests.kinds.service import client_of
from tests.missing import MISSING, NULLS, ROW, Credit, package_credit, table
from tests.seeds import seed_keras
from whyserve.errors import InvalidInput, ModelFault
from whyserve.explain.models.explainable import load_model
from whyserve.export.package.package import check
from whyserve.model.manifest import read_manifest
from whyserve.tables.explain import Question, explain_files


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("missing")
    package_credit(root)
    return root


@pytest.fixture(scope="module")
def manifest(root):
    return read_manifest(root / "artifacts" / "credit")[0]


@pytest.fixture(scope="module")
def client(root):
    with client_of(root) as client:
        yield client


def test_the_manifest_has_the_fills(manifest):
    median = float(np.median(table().age.dropna()))
    assert manifest.fills["age"] == round(median)
    features = {f.name: f for item in manifest.spec.inputs for f in item.features}
    assert features["income"].missing is True
    assert features["owner"].boolean


def test_methods_that_cannot_say_why(manifest, client):
    methods = manifest.certificate["methods"]
    for name in ("deep", "gradient"):
        assert not methods[name]["fits"]
        assert "NaN" in methods[name]["why"]
    assert manifest.certificate["default"] in {"exact", "permutation"}
    answer = client.post("/explain", json={"model": "credit", "instances": [NULLS], "method": "deep"})
    assert (answer.status_code, answer.json()["code"]) == (422, "unsupported_method")


def network_of_row(row: dict[str, Any], fills) -> float:
    number = lambda key: fills.get(key, np.nan) if row[key] is None else float(row[key])  # noqa: E731
    x = torch.tensor([[number("age"), number("income"), number("owner")]], dtype=torch.float32)
    kind = torch.tensor([[2 if row["plan"] is None else ["free", "pro"].index(row["plan"])]])
    with torch.no_grad():
        return float(Credit()(x, kind))


ROWS = [ROW, *({**ROW, key: None} for key in ROW), NULLS]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: "+".join(k for k, v in row.items() if v is None) or "none")
def test_predicting_and_explaining_see_the_same_row(row, client, manifest):
    expected = network_of_row(row, manifest.fills)
    predicted = client.post("/predict", json={"model": "credit", "instances": [row]}).json()
    assert predicted["predictions"][0]["value"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
    for method in ("auto", "exact", "permutation", "kernel"):
        answer = client.post("/explain", json={"model": "credit", "instances": [row], "method": method})
        assert answer.status_code == 200, answer.text
        (output,) = answer.json()["explanations"][0]["outputs"]
        assert output["value"] == pytest.approx(expected, rel=1e-4, abs=1e-6)
        assert abs(output["residual"]) < 1e-5
        assert output.get("missing", {}) == {key: True for key, value in row.items() if value is None}
        assert "out_of_range" not in answer.json()["explanations"][0]


def test_a_missing_number_is_a_value_in_exact_attributions(root, client):
    """Against an enumeration of our own, whose mixes choose each feature by where()."""
    answer = client.post("/explain", json={"model": "credit", "instances": [NULLS], "method": "exact"}).json()
    found = answer["explanations"][0]["outputs"][0]["attributions"]
    arrays = np.load(root / "models" / "credit" / "background.npz")
    x, kind = arrays["x"], arrays["kind"]
    manifest, _ = read_manifest(root / "artifacts" / "credit")
    row_x = np.array([manifest.fills["age"], np.nan, manifest.fills["owner"]], np.float32)
    row = [(0, row_x[0]), (1, row_x[1]), (2, row_x[2]), (None, 2)]

    def value(coalition: int) -> float:
        mixed_x, mixed_kind = x.copy(), kind.copy()
        for player, (column, number) in enumerate(row):
            if coalition >> player & 1:
                if column is None:
                    mixed_kind[:] = number
                else:
                    mixed_x[:, column] = number
        with torch.no_grad():
            return float(Credit()(torch.from_numpy(mixed_x), torch.from_numpy(mixed_kind)).mean())

    values = [value(coalition) for coalition in range(16)]
    weights = [1 / 4, 1 / 12, 1 / 12, 1 / 4]
    for player, name in enumerate(("age", "income", "owner", "plan")):
        shapley = sum(
            weights[bin(each).count("1")] * (values[each | 1 << player] - values[each])
            for each in range(16)
            if not each >> player & 1
        )
        assert found[name] == pytest.approx(shapley, abs=1e-5)


def test_every_protocol_gives_the_same_number(client):
    expected = client.post("/predict", json={"model": "credit", "instances": [NULLS]}).json()["predictions"][0]["value"]
    columns = {key: [None] for key in ROW}
    by_column = client.post("/predict", json={"model": "credit", "columns": columns}).json()
    assert by_column["predictions"][0]["value"] == expected
    v1 = client.post("/v1/models/credit:predict", json={"instances": [NULLS]}).json()
    assert v1["predictions"][0]["value"] == expected
    tensors: list[dict[str, Any]] = [
        {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [None, None, None]},
        {"name": "kind", "shape": [1, 1], "datatype": "INT64", "data": [None]},
    ]
    v2 = client.post("/v2/models/credit/infer", json={"inputs": tensors})
    assert v2.json()["outputs"][0]["data"][0] == pytest.approx(expected)
    explained = client.post("/v2/models/credit/explain", json={"inputs": tensors})
    assert explained.status_code == 200, explained.text
    x, kind = np.full((1, 3), np.nan, "<f4").tobytes(), np.array([[2]], "<i8").tobytes()
    for tensor, raw in zip(tensors, (x, kind), strict=True):
        del tensor["data"]
        tensor["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps({"inputs": tensors}).encode()
    answer = client.post(
        "/v2/models/credit/infer",
        content=head + x + kind,
        headers={"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"},
    )
    assert answer.json()["outputs"][0]["data"][0] == pytest.approx(expected)


def test_a_background_of_a_request_may_have_gaps(client):
    body = {"model": "credit", "instances": [ROW], "background": [NULLS, {**ROW, "age": None}]}
    answer = client.post("/explain", json=body)
    assert answer.status_code == 200, answer.text
    assert abs(answer.json()["explanations"][0]["outputs"][0]["residual"]) < 1e-5


def test_a_counterfactual_keeps_the_missing_values_that_it_does_not_change(client):
    now = client.post("/predict", json={"model": "credit", "instances": [NULLS]}).json()["predictions"][0]["value"]
    body = {"model": "credit", "instances": [NULLS], "threshold": now + 0.005, "count": 2}
    (answer,) = client.post("/counterfactual", json=body).raise_for_status().json()["counterfactuals"]
    for each in answer["found"]:
        assert each["instance"] == {**NULLS, **each["changes"]}
        assert None not in each["changes"].values()
        again = client.post("/predict", json={"model": "credit", "instances": [each["instance"]]}).json()
        assert again["predictions"][0]["value"] >= now + 0.005
    assert answer["found"]


def test_unusual_is_measured_with_missing_values(client):
    body = {"model": "credit", "instances": [NULLS, ROW], "similar": 0}
    shares = [each["more_unusual_share"] for each in client.post("/explain", json=body).json()["explanations"]]
    assert shares[0] < shares[1]


def test_pictures_draw_a_missing_value(client):
    body = {"model": "credit", "instances": [NULLS]}
    answer = client.post("/explain", json=body, headers={"Accept": "image/svg+xml"})
    assert answer.status_code == 200
    assert all(f"{name} = missing" in answer.text for name in NULLS)


def test_the_document_allows_null_where_a_feature_may_be_missing(client):
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    row = schemas["CreditRow"]
    assert row["properties"]["age"]["type"] == ["number", "null"]
    assert row["properties"]["plan"]["enum"] == ["free", "pro", None]
    assert set(row["required"]) == set(ROW)


def test_notebooks_and_files_take_gaps(root, client, tmp_path):
    values = client.post("/predict", json={"model": "credit", "instances": [NULLS, ROW]}).json()["predictions"]
    model = whyserve.load(root / "models" / "credit", root / "artifacts")
    frame = pd.DataFrame([NULLS, ROW])
    assert [each["value"] for each in model.predict(frame)] == pytest.approx([each["value"] for each in values])
    explanation = model.explain(frame, progress=False)
    assert np.abs(explanation.residuals).max() < 1e-5


def test_the_explainer_takes_gaps():
    explainer = whyserve.Explainer(
        Credit(), table(), names=["risk"], categories={"plan": ["free", "pro"]}, missing=MISSING
    )
    explanation = explainer(table(5), progress=False)
    assert np.abs(explanation.residuals).max() < 1e-5
    assert explainer.certificate["methods"]["deep"]["fits"] is False


def test_package_lists_the_columns_and_asks(tmp_path):
    with pytest.raises(InvalidInput, match=r'age \(first in row 0\).*missing=\{"age": "median"'):
        whyserve.package(Credit(), tmp_path / "credit", background=table(), names=["risk"])


def test_a_network_without_room_for_a_missing_category_is_refused(tmp_path):
    small = Credit()
    small.plan = nn.Embedding(2, 2)
    with pytest.raises((InvalidInput, ModelFault), match='room for the code 2 of column "plan"'):
        whyserve.package(
            small,
            tmp_path / "credit",
            background=table(),
            names=["risk"],
            categories={"plan": ["free", "pro"]},
            missing=MISSING,
            artifacts=tmp_path / "artifacts",
        )


def test_a_network_that_does_not_handle_nan_is_refused(tmp_path):
    rows = pd.DataFrame({"a": [1.0, 2.5, 3.0], "b": [1.5, 2.0, 0.5]})
    with pytest.raises(ModelFault, match=r"a row without a value of a .*nan_to_num"):
        whyserve.package(
            nn.Linear(2, 1),
            tmp_path / "line",
            background=rows,
            names=["y"],
            missing={"a": True},
            artifacts=tmp_path / "artifacts",
        )


def test_a_folder_without_room_for_a_missing_category_is_refused(root, tmp_path):
    folder = shutil.copytree(root / "models" / "credit", tmp_path / "credit")
    toml = (folder / "model.toml").read_text()
    assert '"categories": ["free", "pro"]' in toml or 'categories = ["free", "pro"]' in toml
    (folder / "model.toml").write_text(toml.replace('["free", "pro"]', '["free", "pro", "team"]'))
    with pytest.raises(ModelFault, match=r"needs room for the code 3, .* give its lookup 4 entries"):
        check(folder)


def test_files_of_rows_have_empty_cells(root, tmp_path, client):
    (tmp_path / "rows.csv").write_text("age,income,owner,plan\n30,0.5,true,pro\n,,,\n30,,true,pro\n")
    pd.DataFrame([ROW, NULLS, {**ROW, "income": None}]).to_parquet(tmp_path / "rows.parquet")
    values = []
    for name in ("rows.csv", "rows.parquet"):
        out = tmp_path / f"{name}.jsonl"
        model = load_model(root / "models", root / "artifacts" / "credit", 64 << 20)
        done = explain_files(model, [tmp_path / name], out, Question(), on_progress=lambda *_: None)
        assert done.faults == []
        lines = [json.loads(line) for line in out.read_text().splitlines()]
        assert [line.get("missing") for line in lines] == [None, list(ROW), ["income"]]
        values.append([line["value"] for line in lines])
    assert values[0] == pytest.approx(values[1])
    served = client.post("/predict", json={"model": "credit", "instances": [NULLS]}).json()["predictions"][0]["value"]
    assert values[0][1] == pytest.approx(served, abs=1e-5)


@pytest.mark.slow
def test_keras_with_a_mask_and_a_fill(tmp_path):
    import keras

    seed_keras(0)
    x = keras.Input((2,), name="x")
    absent = keras.ops.cast(keras.ops.isnan(x), "float32")
    known = keras.ops.nan_to_num(x)
    made = keras.layers.Dense(1)(keras.layers.Dense(6, "tanh")(keras.ops.concatenate([known, absent], 1)))
    rows = pd.DataFrame({"a": [1.5, None, 0.25, 2.0, -1.0], "b": [None, 2.0, 1.0, 0.5, 0.75]})
    packaged = whyserve.package(
        keras.Model(x, made),
        tmp_path / "masked",
        background=rows,
        names=["y"],
        missing={"a": True, "b": "mean"},
        artifacts=tmp_path / "artifacts",
    )
    assert packaged is not None
    model = whyserve.load(tmp_path / "masked", tmp_path / "artifacts")
    mean = float(rows.b.mean())
    given, filled = ({"a": None, "b": b} for b in (None, mean))
    assert model.predict([given])[0] == model.predict([filled])[0]
    assert np.abs(model.explain([given], progress=False).residuals).max() < 1e-5
    assert model.manifest.fills == {"b": pytest.approx(mean)}
