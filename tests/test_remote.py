"""Copies of folders of models, here of the addresses file://…, and messages of what cannot be read.

tests/remote has the same on a server of S3.
"""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

from tests.conftest import ROOT
from tests.export.folders import torch_folder
from whyserve.arguments import read_settings
from whyserve.errors import ConfigurationError, InvalidInput
from whyserve.export.package.given import check_arguments
from whyserve.remote import address_of, fetch, file_system, local_folder, open_bytes
from whyserve.settings import ExportSettings

NETWORK, WEIGHTS = "network.py", "weights.safetensors"


@pytest.fixture
def models(tmp_path):
    torch_folder(tmp_path / "models", "small")
    torch_folder(tmp_path / "models", "other")
    (tmp_path / "models" / "notes").mkdir()
    (tmp_path / "models" / "notes" / "text.md").write_text("no model")
    return tmp_path / "models"


@pytest.fixture
def copy(models, tmp_path):
    folder = local_folder(f"file://{models}/", tmp_path / "state")
    fetch(folder)
    return folder


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def names(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def test_a_setting_with_an_address_names_the_copy(tmp_path, monkeypatch):
    monkeypatch.setenv("WHYSERVE_MODELS", "s3://bucket/some/models")
    settings = ExportSettings(state=tmp_path)
    assert settings.models.is_relative_to(tmp_path)
    assert address_of(settings.models) == "s3://bucket/some/models"
    assert address_of(ExportSettings(models=settings.models).models) == "s3://bucket/some/models"
    assert address_of(ExportSettings(models=tmp_path / "models").models) is None


def test_a_copy_has_the_files_of_every_model(models, copy):
    assert names(copy) == ["other", "small"]
    assert files(copy / "small") == files(models / "small")
    assert (copy / "small").resolve().name == "small"


def test_only_what_changed_is_fetched_again(models, copy):
    before = {name: (copy / name).resolve() for name in names(copy)}
    (models / "small" / NETWORK).write_text("# another network")
    fetch(copy, only="other")
    assert {name: (copy / name).resolve() for name in names(copy)} == before
    fetch(copy)
    assert (copy / "other").resolve() == before["other"]
    assert (copy / "small").resolve() != before["small"]
    assert (copy / "small" / NETWORK).read_text() == "# another network"
    assert before["small"].exists(), "an export may be reading the previous files"
    (models / "small" / NETWORK).write_text("# a third network")
    fetch(copy)
    assert not before["small"].exists()


def test_a_model_that_is_gone_goes_from_the_copy(models, copy):
    shutil.rmtree(models / "small")
    fetch(copy)
    assert names(copy) == ["other"]
    with pytest.raises(ConfigurationError, match=r"models: not found|no folder small holds"):
        fetch(copy, only="small")


def test_a_model_that_is_being_replaced_stays_in_the_copy(models, copy):
    before = files(copy / "small")
    (models / "small" / "model.toml").unlink()
    (models / "small" / NETWORK).write_text("# another network")
    fetch(copy)
    assert files(copy / "small") == before
    with pytest.raises(ConfigurationError, match=r"no folder small holds a model\.toml"):
        fetch(copy, only="small")
    assert files(copy / "small") == before


def test_a_download_that_fails_leaves_the_copy_as_it_was(models, copy):
    before = files(copy / "small")
    (models / "small" / NETWORK).write_text("# another network")
    weights = models / "small" / WEIGHTS
    weights.unlink()
    weights.symlink_to(models / "nowhere")
    with pytest.raises(ConfigurationError, match="not found"):
        fetch(copy, only="small")
    assert files(copy / "small") == before
    assert names(copy) == ["other", "small"]
    assert not list(copy.glob(".part-*"))


def test_what_a_killed_process_left_is_removed(copy):
    (copy / ".part-killed").mkdir()
    (copy / ".part-killed" / "half").write_text("half")
    fetch(copy)
    assert not list(copy.glob(".part-*"))


def test_an_empty_folder_and_a_missing_one_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "missing"):
        with pytest.raises(ConfigurationError, match=f"file://{tmp_path}/{name}: (no folder in it holds|not found)"):
            fetch(local_folder(f"file://{tmp_path}/{name}", tmp_path / "state"))


def test_a_file_is_read_by_its_path_and_by_its_address(models):
    path = models / "small" / NETWORK
    for place in (path, f"file://{path}"):
        with open_bytes(place) as file:
            assert file.read() == path.read_bytes()
    with pytest.raises(ConfigurationError, match="nothing: not found"):
        open_bytes(f"file://{models}/nothing")


@pytest.mark.skipif(find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_missing_package_is_named_with_its_extra():
    with pytest.raises(ConfigurationError, match=r"s3://bucket/rows\.parquet: .*pip install 'whyserve\[remote\]'"):
        file_system("s3://bucket/rows.parquet")


def test_an_unknown_kind_of_address_is_named():
    with pytest.raises(ConfigurationError, match=r"^nope://bucket: there is no package"):
        file_system("nope://bucket")


@pytest.mark.parametrize("name", ["artifacts", "state"])
def test_other_folders_are_of_this_machine(name, monkeypatch):
    monkeypatch.setenv(f"WHYSERVE_{name.upper()}", "s3://bucket/folder")
    with pytest.raises(ConfigurationError, match=f"^WHYSERVE_{name.upper()}: .*must be a folder of this machine"):
        read_settings("export", {})
    with pytest.raises(InvalidInput, match="artifacts must be a path, such as"):
        check_arguments({"artifacts": "s3://bucket/artifacts"})


def test_new_models_are_written_to_folders_only(tmp_path):
    environment = {**os.environ, "WHYSERVE_MODELS": "s3://bucket/models", "WHYSERVE_STATE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "new", "churn"],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith("whyserve new: s3://bucket/models: `whyserve new` writes to a folder")
    assert not list(tmp_path.iterdir())
