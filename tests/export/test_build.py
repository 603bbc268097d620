"""`whyserve export`: the artifact, when it is exported again, and the messages for faulty folders."""

import json
import shutil
import stat

import numpy as np
import onnx
import pytest

from tests.conftest import shipped
from tests.export.folders import torch_folder
from whyserve.errors import DigestMismatch, ModelFault
from whyserve.export.build import export_all
from whyserve.model.keras_file import open_keras
from whyserve.model.manifest import read_checked, read_manifest, sha256
from whyserve.model.spec import ONNX_FILE


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A good model, exported, and the lines that the export printed."""
    root = tmp_path_factory.mktemp("export")
    torch_folder(root / "models", "good")
    said: list[str] = []
    export_all(root / "models", root / "artifacts", 20, said.append)
    return root, said


def test_an_artifact_has_the_names_of_the_spec_and_a_symbolic_batch(exported):
    root, said = exported
    folder = root / "artifacts" / "good"
    assert sorted(path.name for path in folder.iterdir()) == ["manifest.json", "model.onnx", "original"]
    made_of = {path.name for path in (folder / "original").iterdir()}
    assert made_of | {"model.onnx"} == set(read_manifest(folder)[0].files)
    graph = onnx.load(folder / "model.onnx").graph
    (given,), (returned,) = graph.input, graph.output
    assert (given.name, returned.name) == ("x", "output")
    assert given.type.tensor_type.shape.dim[0].dim_param
    assert given.type.tensor_type.shape.dim[1].dim_value == 2
    assert any(line.startswith("good: exported from torch") for line in said)
    manifest, _ = read_manifest(folder)
    assert manifest.parity.batches == (1, 2, 64)
    assert manifest.parity.largest <= manifest.parity.bound
    assert manifest.certificate["default"] == "exact"
    assert manifest.certificate["methods"]["exact"]["residual"] < 1e-6
    assert set(manifest.files) == {
        "model.toml",
        "network.py",
        "weights.safetensors",
        "background.npz",
        "example.json",
        ONNX_FILE,
    }


def test_only_a_changed_folder_is_exported_again(exported):
    root, _ = exported
    said: list[str] = []
    export_all(root / "models", root / "artifacts", 20, said.append)
    assert said == ["good: unchanged"]

    copy = root / "changed"
    shutil.copytree(root / "models", copy / "models")
    shutil.copytree(root / "artifacts", copy / "artifacts", symlinks=True)
    example = copy / "models" / "good" / "example.json"
    example.write_text(example.read_text() + "\n")
    before, _ = read_manifest(copy / "artifacts" / "good")
    export_all(copy / "models", copy / "artifacts", 20, said.append)
    after, _ = read_manifest(copy / "artifacts" / "good")
    assert before.files["example.json"] != after.files["example.json"] == sha256(example.read_bytes())


def test_an_artifact_without_a_model_folder_is_removed(exported, tmp_path):
    root, _ = exported
    shutil.copytree(root / "artifacts", tmp_path / "artifacts", symlinks=True)
    shutil.copytree(root / "models", tmp_path / "models")
    (tmp_path / "models" / "good").rename(tmp_path / "models" / "better")
    said: list[str] = []
    with pytest.raises(ModelFault, match='name is "good", but the folder is "better"'):
        export_all(tmp_path / "models", tmp_path / "artifacts", 20, said.append)
    assert said == ["good: artifact removed, because the model folder no longer exists"]
    assert not (tmp_path / "artifacts" / "good").exists()


def test_a_file_with_another_digest_is_refused(exported, tmp_path):
    root, _ = exported
    shutil.copytree(root / "artifacts" / "good", tmp_path / "good")
    manifest, _ = read_manifest(tmp_path / "good")
    path = tmp_path / "good" / ONNX_FILE
    path.chmod(path.stat().st_mode | stat.S_IWUSR)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DigestMismatch, match=r"good/model\.onnx: not the file that was exported"):
        read_checked(tmp_path / "good", ONNX_FILE, manifest)


def test_each_faulty_folder_gives_one_line_and_the_good_one_is_exported(tmp_path):
    models = tmp_path / "models"
    (torch_folder(models, "good") / "example.json").unlink()
    torch_folder(models, "raises", "raise RuntimeError('no such thing')")
    torch_folder(models, "wide", outputs=3)
    torch_folder(models, "mixes", "return self.layer(x - x.mean(0))")
    torch_folder(models, "nan", "return self.layer(x).log()")
    torch_folder(models, "twice", "return self.layer(x), x")
    (torch_folder(models, "toml") / "model.toml").write_text("name = ")
    (torch_folder(models, "missing") / "background.npz").unlink()
    np.savez(torch_folder(models, "shape") / "background.npz", x=np.zeros((5, 3), np.float32))
    (torch_folder(models, "weights") / "weights.safetensors").write_bytes(b"not weights")
    (torch_folder(models, "build") / "network.py").write_text("x = 1\n")
    (torch_folder(models, "example") / "example.json").write_text(
        json.dumps({"model": "example", "instances": [{"a": 1, "q": 2}]})
    )
    (torch_folder(models, "outside") / "model.toml").write_text(
        (models / "outside" / "model.toml").read_text() + '[explain]\nbackground = "../good/background.npz"\n'
    )
    named = {"named": np.zeros((5, 3)), "far": np.array([[0, 0], [3e38, 3e38]]), "gone": None}
    for name, rows in named.items():
        body = "return self.layer(x * 2)" if name == "far" else "return self.layer(x)"
        folder = torch_folder(models, name, body)
        with (folder / "model.toml").open("a") as spec:
            spec.write('[explain.backgrounds]\nothers = "others.npz"\n')
        if rows is not None:
            np.savez(folder / "others.npz", x=rows.astype(np.float32))
    said: list[str] = []
    with pytest.raises(ModelFault) as caught:
        export_all(models, tmp_path / "artifacts", 20, said.append)
    faults = caught.value.message.splitlines()
    for line in (
        "raises: the network fails on a row of valid inputs: RuntimeError: no such thing",
        "wide/model.toml: [output] names 2 (no, yes), but the network returns shape (3,) per row",
        "nan: the network's output is not finite on background row",
        "twice: ",
        "toml/model.toml: not valid TOML",
        "missing/background.npz: cannot be read: No such file or directory",
        'shape/background.npz: input "x" has shape (5, 3); (rows, 2) is needed',
        "weights/weights.safetensors: ",
        "build/network.py: has no function build()",
        'example/example.json: instances[0]: "',
        "outside/../good/background.npz: the file is outside the model folder",
        'named/others.npz: input "x" has shape (5, 3); (rows, 2) is needed',
        "far/others.npz: the network's output is not finite on row 1",
        "gone/others.npz: cannot be read: No such file or directory",
    ):
        assert any(fault.startswith(line) for fault in faults), (line, faults)
    assert any(fault.startswith("mixes") for fault in faults), faults
    assert len(faults) == 15
    assert str(tmp_path) not in caught.value.message
    assert any(line.startswith("good: exported") for line in said)
    assert [path.name for path in (tmp_path / "artifacts").iterdir() if path.name != ".builds"] == ["good"]
    # Without an example, the first row of the background is the example.
    manifest, _ = read_manifest(tmp_path / "artifacts" / "good")
    a, b = np.load(models / "good" / "background.npz")["x"][0]
    assert manifest.example == {"model": "good", "instances": [{"a": float(str(a)), "b": float(str(b))}]}
    assert "example.json" not in manifest.files


def test_shipped_models_are_within_parity_and_certified(artifacts):
    for name in shipped():
        manifest, _ = read_manifest(artifacts / name)
        assert manifest.parity.largest <= 1e-5
        if manifest.spec.framework == "keras":
            assert manifest.parity.twin_largest is not None
            assert manifest.parity.twin_largest <= 1e-5
        default = manifest.certificate["methods"][manifest.certificate["default"]]
        assert default["fits"]
        # The residual of gradient is one or two thousandths on a network with many kinks; of the others, rounding.
        assert default["residual"] <= (3e-3 if manifest.certificate["default"] == "gradient" else 1e-4)
        assert 20 <= manifest.background_rows <= 100


@pytest.mark.parametrize(
    ("framework", "missing", "other", "words"),
    [
        ("keras", "model.keras", "model.h5", "HDF5 can hold code and is not read; save the model again"),
        ("torch", "weights.safetensors", "weights.pt", "pickled weights can hold code and are not read; save them"),
    ],
)
def test_a_file_format_that_can_hold_code_is_refused(framework, missing, other, words, tmp_path):
    folder = torch_folder(tmp_path / "models", "old")
    spec = folder / "model.toml"
    spec.write_text(spec.read_text().replace('"torch"', f'"{framework}"'))
    (folder / missing).unlink(missing_ok=True)
    (folder / other).write_bytes(b"anything")
    with pytest.raises(ModelFault) as fault:
        export_all(tmp_path / "models", tmp_path / "artifacts", 20, lambda line: None)
    assert fault.value.message.startswith(f"old/{other}: {words}")


def test_hdf5_named_keras_is_refused():
    with pytest.raises(
        ValueError, match=r"the file has the HDF5 format\. HDF5 can hold code and is not read; save the model again"
    ):
        open_keras(b"\x89HDF\r\n\x1a\n" + bytes(2048))
