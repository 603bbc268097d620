"""A model folder with framework = "onnx": its file is served as it is, and explained by its outputs alone."""

import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import whyserve
from tests.conftest import start_service
from whyserve.errors import ModelFault, UnsupportedMethod
from whyserve.explain.models.explainable import load_model
from whyserve.explain.models.onnx_network import load_onnx
from whyserve.export.artifacts import is_current
from whyserve.export.build import export_all, export_one
from whyserve.export.parity import parity_text
from whyserve.export.sources import read_source
from whyserve.model.manifest import read_manifest, sha256
from whyserve.model.spec import read_spec

SPEC = """
name = "tiny"
framework = "onnx"
task = "regression"
[[inputs]]
name = "x"
features = [{ name = "a" }, { name = "b" }, { name = "c" }]
[output]
names = ["score"]
scores = "values"
tensor = "y"
"""


def tiny(weights=(1, 2, 3), rows="rows", last=None):
    """y = w·x², squared, with a scaler of ai.onnx.ml in front."""
    nodes = [
        helper.make_node("Scaler", ["x"], ["s"], domain="ai.onnx.ml", offset=[0.0] * 3, scale=[1.0] * 3),
        helper.make_node("Mul", ["s", "s"], ["q"]),
        helper.make_node("MatMul", ["q", "w"], ["z"]),
        last or helper.make_node("Mul", ["z", "z"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [rows, k]) for n, k in (("x", 3), ("y", 1))]
    held = numpy_helper.from_array(np.array(weights, np.float32)[:, None], "w")
    opsets = [
        helper.make_opsetid("", 18),
        helper.make_opsetid("ai.onnx.ml", 1),
        helper.make_opsetid("com.microsoft", 1),
    ]
    return helper.make_model(
        helper.make_graph(nodes, "g", ends[:1], ends[1:], initializer=[held]), opset_imports=opsets, ir_version=10
    )


def folder(root, model=None, spec=SPEC):
    made = root / "models" / "tiny"
    made.mkdir(parents=True)
    (made / "model.toml").write_text(spec)
    (made / "model.onnx").write_bytes((model or tiny()).SerializeToString())
    np.savez(made / "background.npz", x=np.random.default_rng(0).normal(size=(10, 3)).astype(np.float32))
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    root = tmp_path_factory.mktemp("onnx")
    made = folder(root)
    export_one(made, root / "artifacts", 20)
    return made, root / "artifacts"


def test_the_file_is_served_as_it_is_and_is_the_original(exported):
    made, artifacts = exported
    manifest, _ = read_manifest(artifacts / "tiny")
    content = (made / "model.onnx").read_bytes()
    for place in ("model.onnx", "original/model.onnx"):
        assert (artifacts / "tiny" / place).read_bytes() == content
    assert manifest.files["model.onnx"] == sha256(content)
    assert set(manifest.built_with) == {"numpy", "onnx", "onnxruntime", "shap", "torch"}
    assert manifest.parity.itself
    assert manifest.parity.batches == (1, 2, 64)
    assert parity_text(manifest.parity).startswith("the ONNX file is the original; its outputs in batches of 1, 2, 64")


def test_the_certificate_has_the_methods_that_need_outputs_alone(exported):
    manifest, _ = read_manifest(exported[1] / "tiny")
    fits = {name: figures["fits"] for name, figures in manifest.certificate["methods"].items()}
    assert fits == {"exact": True, "permutation": True, "kernel": True, "deep": False, "gradient": False}
    assert "for an ONNX model, use exact, permutation, kernel" in manifest.certificate["methods"]["deep"]["why"]


def test_predictions_and_attributions_are_those_of_the_file(exported):
    made, artifacts = exported
    model = whyserve.load(made, artifacts)
    rows = np.random.default_rng(1).normal(size=(5, 3)).astype(np.float32)
    value = ((rows.astype(np.float64) ** 2) @ [1, 2, 3]) ** 2
    np.testing.assert_allclose([answer["value"] for answer in model.predict(rows)], value, rtol=1e-5)
    explanation = model.explain(rows, method="exact")
    np.testing.assert_allclose(explanation.base_values + explanation.values.sum(1), value, rtol=1e-5)
    for method in ("deep", "gradient"):
        with pytest.raises(
            UnsupportedMethod, match=f'"{method}" cannot explain tiny: the method needs a network of tor'
        ):
            model.explain(rows, method=method)


def test_an_export_is_current_until_the_file_changes(tmp_path, exported):
    made, artifacts = exported
    said: list[str] = []
    export_all(made.parent, artifacts, 20, said.append)
    assert said == ["tiny: unchanged"]
    changed = read_source(folder(tmp_path, tiny((3, 2, 1))))
    settings = {"budget_ms": 20, "budget_max_ms": 2000}
    assert not is_current(artifacts, changed, settings)
    assert is_current(artifacts, read_source(made), settings)


def test_the_worker_and_the_api_serve_it(tmp_path, exported):
    made, artifacts = exported
    service = start_service(artifacts, tmp_path / "state", models=made.parent)
    service.await_line(r"ready on ")
    try:
        with service.client() as client:
            request = {"model": "tiny", "instances": [{"a": 1, "b": 0, "c": -1}]}
            assert client.post("/predict", json=request).json()["predictions"][0]["value"] == pytest.approx(16)
            answer = client.post("/explain", json=request).json()
            assert answer["explanations"][0]["outputs"][0]["residual"] == pytest.approx(0, abs=1e-4)
            refused = client.post("/explain", json={**request, "method": "deep"})
            assert refused.status_code == 422
            assert "use exact, permutation, kernel" in refused.json()["detail"]
    finally:
        assert service.stop() == 0, service.output


def test_a_worker_without_onnx_runtime_names_the_extra(exported, monkeypatch):
    made, artifacts = exported
    for name in [name for name in sys.modules if name.startswith("whyserve.onnx")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # what the import system has for a package that is missing
    with pytest.raises(
        ModelFault, match=r'install the extra "onnx" of the worker: pip install "whyserve\[worker,onnx\]'
    ):
        load_model(made.parent, artifacts / "tiny", 1 << 20)


@pytest.mark.parametrize("method", ["deep", "gradient"])
def test_a_method_with_gradients_is_refused_in_the_folder(tmp_path, method):
    made = folder(tmp_path, spec=f'{SPEC}[explain]\nmethod = "{method}"\n')
    with pytest.raises(
        ModelFault, match=f'tiny/model.toml: explain.method is "{method}", but the method needs a network'
    ):
        read_spec(made)


def test_a_pickle_beside_the_folder_is_no_model(tmp_path):
    made = folder(tmp_path)
    (made / "model.onnx").rename(made / "model.pkl")
    with pytest.raises(ModelFault, match=r"tiny/model.pkl: a pickle can hold code and is not read; convert the model"):
        read_source(made)


def zip_map():
    made = tiny(last=helper.make_node("ZipMap", ["z"], ["y"], domain="ai.onnx.ml", classlabels_int64s=[0]))
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    )
    made.graph.output[0].type.CopyFrom(kind)
    return made


FAULTS = {
    "fixed rows": (lambda: tiny(rows=4), {}, 'tiny/model.onnx: input "x" has a fixed number of rows (4); convert the'),
    "a foreign operator": (
        lambda: tiny(last=helper.make_node("Gelu", ["z"], ["y"], domain="com.microsoft")),
        {},
        "tiny/model.onnx: operator com.microsoft.Gelu is not part of ONNX",
    ),
    "ZipMap": (zip_map, {}, '{"zipmap": False}, or package it with whyserve.package'),
    "another input": (tiny, {'name = "x"': 'name = "rows"'}, "its inputs are ['x'], but model.toml names ['rows']"),
    "another output": (
        tiny,
        {'tensor = "y"': ""},
        "its outputs are ['y'], but output.tensor in model.toml is \"output\"",
    ),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_fault_of_the_file_is_one_line(case, tmp_path):
    make, changes, words = FAULTS[case]
    text = SPEC
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    made = folder(tmp_path, make(), text)
    with pytest.raises(ModelFault) as caught:
        load_onnx((made / "model.onnx").read_bytes(), read_spec(made))
    assert words in caught.value.message
    assert "\n" not in caught.value.message
