"""Model folders are uploaded whole. The addresses here are file://…; tests/remote has the same on a server of S3."""

import numpy as np
import pytest
from torch import nn

from tests.export.folders import torch_folder
from whyserve.errors import ConfigurationError, ModelFault
from whyserve.export.package.package import package
from whyserve.export.package.upload import uploaded

SPEC = "model.toml"


@pytest.fixture
def folder(tmp_path):
    folder = torch_folder(tmp_path / "models", "small")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "train.py").write_text("# of the person")
    return folder


def files(folder):
    return {path.name: path.read_text() for path in folder.iterdir() if path.suffix not in {".npz", ".safetensors"}}


def test_new_files_replace_the_old_ones_and_others_stay(folder):
    with uploaded(f"file://{folder}/") as copy:
        assert copy.name == "small"
        assert [path.name for path in copy.iterdir()] == [SPEC]
        assert (copy / SPEC).read_text() == (folder / SPEC).read_text()
        for name in (SPEC, "network.py", "weights.safetensors"):
            (copy / name).write_text(f"# new {name}")
        before = files(folder)
    after = files(folder)
    del before["tokenizer.json"]
    assert after == before | {name: f"# new {name}" for name in (SPEC, "network.py")}
    newest = max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert newest.name == SPEC


def test_an_upload_that_fails_leaves_the_old_files(folder):
    before = files(folder)

    def upload():
        with uploaded(f"file://{folder}") as copy:
            (copy / SPEC).write_text("# new")
            (copy / "network.py").write_text("# new")
            (copy / "weights.safetensors").symlink_to("nowhere")

    with pytest.raises(ConfigurationError, match=f"^file://{folder}: not found"):
        upload()
    assert files(folder) == before


def test_another_model_is_not_replaced_and_places_that_do_not_fit_are_named(folder, monkeypatch):
    rows = np.ones((5, 3), np.float32)
    network = nn.Sequential(nn.Linear(3, 1))
    with pytest.raises(ModelFault, match=r"^small: the folder holds a model with other inputs"):
        package(network, f"file://{folder}", background=rows, names=["y"])
    monkeypatch.setenv("WHYSERVE_MODELS", "s3://bucket/models")
    with pytest.raises(ModelFault, match=r"^s3://bucket/models/team/small: the service .* use models/small$"):
        package(network, "s3://bucket/models/team/small", background=rows, names=["y"])
