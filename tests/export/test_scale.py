"""A model whose default scale is log-odds: its certificate, its answers, and the logits of its ONNX file."""

import shutil

import numpy as np
import pytest

import whyserve
from tests.conftest import MODELS, rows_of
from whyserve.errors import ModelFault
from whyserve.export.build import export_one
from whyserve.model.manifest import LOGITS
from whyserve.model.spec import ONNX_FILE, read_spec
from whyserve.onnx.session import open_model


def folder_of(name, tmp_path):
    folder = tmp_path / "models" / name
    shutil.copytree(MODELS / name, folder)
    spec = folder / "model.toml"
    spec.write_text(spec.read_text().replace("[explain]\n", '[explain]\nscale = "log_odds"\n'))
    return folder


def test_the_default_scale_of_a_model_is_measured_and_used(tmp_path):
    folder = folder_of("penguins", tmp_path)
    manifest = export_one(folder, tmp_path / "artifacts", 20)
    assert manifest.ending == "softmax"
    assert manifest.parity.logits_largest is not None
    assert manifest.parity.logits_largest < 1e-5
    session = open_model((tmp_path / "artifacts" / "penguins" / ONNX_FILE).read_bytes(), manifest.spec, 1)
    assert [each.name for each in session.get_outputs()] == ["output", LOGITS]
    model, rows = whyserve.load(folder, artifacts=tmp_path / "artifacts"), rows_of("penguins", 2)
    explanation = model.explain(rows, outputs="all")
    scores = [each["scores"] for each in model.predict(rows)]
    p = np.array([list(each.values()) for each in scores], np.float64)
    assert explanation.scale == "log_odds"
    assert "expected_distance" in explanation.facts
    np.testing.assert_allclose(explanation.predictions, np.log(p / (1 - p)), rtol=1e-3)
    plain = model.explain(rows, outputs="all", scale="output")
    assert plain.scale == "output"
    assert "expected_distance" not in plain.facts
    assert "default scale" in str(plain.method_reason)
    np.testing.assert_allclose(plain.predictions, p)


def test_a_regression_has_no_log_odds(tmp_path):
    with pytest.raises(ModelFault, match=r"explain\.scale"):
        read_spec(folder_of("linear", tmp_path))
