"""Artifacts that another version of Whyserve exported: exported again, set aside, or refused; never read."""

import json
import logging
import re
import shutil
from pathlib import Path

import pytest

from tests.export.folders import torch_folder
from whyserve.errors import ModelFault
from whyserve.explain.models.registry import ModelRegistry
from whyserve.export.build import export_all
from whyserve.model.manifest import FORMAT, MANIFEST_FILE, read_manifest
from whyserve.predict.catalog import load_catalog

OTHER = f"exported by another version of Whyserve (format 1, this program needs {FORMAT})"


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """Two models and their artifacts."""
    root = tmp_path_factory.mktemp("versions")
    torch_folder(root / "models", "first")
    torch_folder(root / "models", "second")
    export(root)
    return root


@pytest.fixture
def root(exported, tmp_path):
    """A copy of the two models and their artifacts, to change."""
    for name in ("models", "artifacts"):
        shutil.copytree(exported / name, tmp_path / name, symlinks=True)
    return tmp_path


def export(root: Path) -> list[str]:
    said: list[str] = []
    export_all(root / "models", root / "artifacts", 20, said.append)
    return said


def make_format_1(build: Path) -> None:
    """Give a real manifest format 1, and another name to one of its fields."""
    path = build / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    manifest |= {"format": 1, "verdict": manifest.pop("certificate")}
    path.write_text(json.dumps(manifest))


def add_build(root: Path, content: str | None = None) -> Path:
    """Add an older build of the model `first`: of format 1, or with a manifest of this content."""
    current = (root / "artifacts" / "first").resolve()
    older = current.with_name("first-0123456789abcdef")
    shutil.copytree(current, older)
    if content is None:
        make_format_1(older)
    else:
        (older / MANIFEST_FILE).write_text(content)
    return older


def registry(root: Path) -> ModelRegistry:
    return ModelRegistry(root / "models", root / "artifacts", 1 << 28)


def test_an_artifact_of_another_format_is_refused_and_exported_again(root):
    make_format_1(root / "artifacts" / "first")
    for load in (lambda: load_catalog(root / "artifacts", 1), lambda: registry(root)):
        with pytest.raises(ModelFault) as caught:
            load()
        place, _, rest = caught.value.message.partition(": ")
        assert re.fullmatch(r"first-\w+/manifest\.json", place)
        assert rest == f"{OTHER}; run `whyserve export`"

    said = export(root)
    assert said[0] == f"first/manifest.json: {OTHER}; exporting first again"
    assert said[1] == "second: unchanged"
    assert any(line.startswith("first: exported from torch") for line in said)
    assert read_manifest(root / "artifacts" / "first")[0].format == FORMAT
    assert load_catalog(root / "artifacts", 1).names == ["first", "second"]
    assert len(registry(root).digests) == 2
    assert export(root) == ["first: unchanged", "second: unchanged"]


def test_a_manifest_that_is_no_json_is_refused_and_exported_again(root):
    (root / "artifacts" / "first" / MANIFEST_FILE).write_text("{")
    with pytest.raises(ModelFault, match=r"first-\w+/manifest\.json: .*; run `whyserve export`$"):
        load_catalog(root / "artifacts", 1)
    assert export(root)[0].startswith("first/manifest.json: ")
    assert load_catalog(root / "artifacts", 1).names == ["first", "second"]


@pytest.mark.parametrize("content", [None, "{"], ids=["format 1", "no JSON"])
def test_an_older_build_that_cannot_be_read_is_left_out_and_then_set_aside(content, root, caplog):
    older = add_build(root, content)
    _, digest = read_manifest(root / "artifacts" / "first")
    versions = load_catalog(root / "artifacts", 1).versions("first")
    assert [predictor.digest for predictor in versions.values()] == [digest]
    assert len(registry(root).digests) == 2
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(lines) == 2  # the API's and the worker's
    assert all(older.name in line for line in lines)

    said = export(root)
    assert said[:2] == ["first: unchanged", "second: unchanged"]
    assert said[2].startswith(f"{older.name}/manifest.json: ")
    assert said[2].endswith("; moved to .builds-unreadable")
    assert len(said) == 3
    assert (root / "artifacts" / ".builds-unreadable" / older.name / "original" / "weights.safetensors").is_file()
    assert not older.exists()
    assert export(root) == ["first: unchanged", "second: unchanged"]


def test_a_model_whose_build_is_missing_is_refused_and_exported_again(root):
    shutil.rmtree((root / "artifacts" / "first").resolve())
    for load in (lambda: load_catalog(root / "artifacts", 1), lambda: registry(root)):
        with pytest.raises(ModelFault, match=r"^first/manifest\.json: missing; run `whyserve export`$"):
            load()
    export(root)
    assert load_catalog(root / "artifacts", 1).names == ["first", "second"]


def test_the_link_of_a_removed_model_without_a_build_is_removed(root):
    shutil.rmtree((root / "artifacts" / "first").resolve())
    shutil.rmtree(root / "models" / "first")
    assert "first: artifact removed, because the model folder no longer exists" in export(root)
    assert load_catalog(root / "artifacts", 1).names == ["second"]
