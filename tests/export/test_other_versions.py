"""Artifacts that another version of Whyserve exported: exported again, set aside, or refused; never read."""

import json
import logging
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests.export.folders import torch_folder
from whyserve.cli import main
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


def no_json(build: Path) -> None:
    (build / MANIFEST_FILE).write_text("{")


def no_certificate(build: Path) -> None:
    path = build / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"spec": manifest["spec"] | {"version": 7}, "certificate": {}}))


def cut_network(build: Path) -> None:
    """A build of another version of the model, which would be served beside the current one."""
    path = build / MANIFEST_FILE
    manifest = json.loads(path.read_text())
    path.write_text(json.dumps(manifest | {"spec": manifest["spec"] | {"version": 7}}))
    (build / "model.onnx").write_bytes(b"\0")


BROKEN = [make_format_1, no_json, no_certificate, cut_network]


@pytest.mark.parametrize("make_broken", BROKEN, ids=lambda each: each.__name__)
def test_an_older_build_that_cannot_be_used_is_left_out_and_then_set_aside(make_broken, root, caplog, capsys):
    older = add_build(root)
    shutil.rmtree(older)
    shutil.copytree((root / "artifacts" / "first").resolve(), older)
    make_broken(older)
    _, digest = read_manifest(root / "artifacts" / "first")
    versions = load_catalog(root / "artifacts", 1).versions("first")
    assert [predictor.digest for predictor in versions.values()] == [digest]
    assert len(registry(root).digests) >= 2
    lines = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert str(older) in lines[0]
    verify = ["verify", str(root / "artifacts")]
    with pytest.raises(SystemExit, match="1"):
        main(verify)
    assert f"first: older build {older} is faulty: " in capsys.readouterr().out

    said = export(root)
    assert said[:2] == ["first: unchanged", "second: unchanged"]
    assert said[2].startswith(f"{older.name}/")
    assert said[2].endswith(f"; moved to {root / 'artifacts' / '.builds-unreadable' / older.name}")
    with pytest.raises(SystemExit, match="0"):
        main(verify)
    assert "2 models, 0 faulty builds" in capsys.readouterr().out
    assert len(said) == 3
    assert (root / "artifacts" / ".builds-unreadable" / older.name / "original" / "weights.safetensors").is_file()
    assert not older.exists()
    assert export(root) == ["first: unchanged", "second: unchanged"]


@pytest.mark.parametrize("file", ["network.py", "weights.safetensors", "background.npz"])
def test_a_current_build_with_a_damaged_file_is_exported_again(file, root, capsys):
    damaged = root / "artifacts" / "first" / "original" / file
    damaged.write_bytes(b"x")
    with pytest.raises(ModelFault, match=f"first/{file}: not the file that was exported; run `whyserve export`"):
        registry(root)
    with pytest.raises(SystemExit, match="1"):
        main(["verify", str(root / "artifacts")])
    assert "first: current build" in capsys.readouterr().out
    assert any(line.endswith("exporting first again") for line in export(root))
    assert len(registry(root).digests) == 2


def test_a_build_that_appears_while_the_worker_starts_is_loaded(root):
    """The worker once took it for one that it had loaded, and `load` of the model was refused until a restart."""
    hidden = root / "hidden"
    (root / "artifacts" / "second").rename(hidden)

    def each(names: Iterable[str]) -> Iterator[str]:
        hidden.rename(root / "artifacts" / "second")
        return iter(names)

    found = ModelRegistry(root / "models", root / "artifacts", 1 << 28, each)
    assert len(found.digests) == 1
    found.refresh()
    assert len(found.digests) == 2


def test_a_build_that_is_still_being_copied_is_tried_again(root, caplog, monkeypatch):
    monkeypatch.setattr("whyserve.explain.models.registry.TRY_AGAIN_S", 0.0)
    build = (root / "artifacts" / "second").resolve()
    weights = (build / "original" / "weights.safetensors").read_bytes()
    (root / "artifacts" / "second").unlink()
    shutil.move(build, root / "later")
    found = registry(root)
    shutil.move(root / "later", build)
    (build / "original" / "weights.safetensors").write_bytes(weights[:10])
    (root / "artifacts" / "second").symlink_to(Path(".builds", build.name))
    for _ in range(3):
        found.refresh()
    assert [record.getMessage().count("cannot be loaded") for record in caplog.records] == [1]
    (build / "original" / "weights.safetensors").write_bytes(weights)
    found.refresh()
    assert len(found.digests) == 2


def test_a_missing_build_of_one_model_does_not_hide_a_new_one(root):
    (root / "artifacts" / "second").rename(root / "later")
    found = registry(root)
    (root / "artifacts" / "third").symlink_to(Path(".builds", "third-missing"))
    (root / "later").rename(root / "artifacts" / "second")
    found.refresh()
    assert len(found.digests) == 2


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
