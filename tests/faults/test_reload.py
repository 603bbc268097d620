"""New builds are loaded under load, older versions stay, and a broken build changes nothing."""

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import Running, start_service
from tests.export.folders import torch_folder
from tests.faults.conftest import ask
from whyserve.export.build import export_all


@pytest.fixture
def world(tmp_path: Path, frail: tuple[Path, Path]) -> Iterator[tuple[Running, Path, Path]]:
    models, artifacts = tmp_path / "models", tmp_path / "artifacts"
    shutil.copytree(frail[0], models)
    shutil.copytree(frail[1], artifacts, symlinks=True)
    running = start_service(artifacts, tmp_path / "q", models=models)
    yield running, models, artifacts
    assert running.stop() == 0, running.output


def load(client: httpx.Client, what: str = "frail/load") -> httpx.Response:
    return client.post(f"/v2/repository/models/{what}")


def export(models: Path, artifacts: Path) -> None:
    export_all(models, artifacts, 20, lambda _: None)


def rename(models: Path, version: int, feature: str) -> None:
    """Make a new version of the same network, with another name for its first feature."""
    path = models / "frail" / "model.toml"
    text = path.read_text().replace('framework = "torch"', f'framework = "torch"\nversion = {version}')
    path.write_text(text.replace('name = "a"', f'name = "{feature}"'))
    (models / "frail" / "example.json").unlink(missing_ok=True)


@pytest.mark.slow
def test_a_new_version_is_loaded_under_load_beside_the_old_one(world):
    service, models, artifacts = world
    old, new = ask(1.0, 2.0, version=1), {"model": "frail", "instances": [{"c": 1.0, "b": 2.0}]}
    stop, statuses = threading.Event(), []

    def keep_asking() -> None:
        with service.client() as own:
            while not stop.is_set():
                statuses.append(own.post("/predict", json=old).status_code)
                statuses.append(own.post("/explain", json={**old, "seed": len(statuses)}).status_code)

    with service.client() as client:
        first = client.post("/explain", json=old).json()
        rename(models, 2, "c")
        export(models, artifacts)
        torch_folder(models, "other")
        callers = [threading.Thread(target=keep_asking) for _ in range(2)]
        for caller in callers:
            caller.start()
        try:
            loaded = load(client)
            assert loaded.status_code == 200, loaded.text
        finally:
            stop.set()
            for caller in callers:
                caller.join(60)
        assert set(statuses) == {200}

        answer = client.post("/explain", json=new)
        assert answer.status_code == 200, answer.text
        assert answer.json()["version"] == 2
        assert set(answer.json()["explanations"][0]["outputs"][0]["attributions"]) == {"c", "b"}
        again = client.post("/explain", json=old).json()
        assert (again["version"], again["manifest"]) == (1, first["manifest"])
        assert again["explanations"] == first["explanations"]
        assert client.get("/v2/models/frail").json()["versions"] == ["1", "2"]
        assert client.get("/v2/models/frail/versions/1").status_code == 200
        assert "c" in client.get("/openapi.json").json()["components"]["schemas"]["FrailRow"]["properties"]
        assert client.post("/predict", json=ask(1.0)).status_code == 422

        # A model that was exported after the service's start.
        export(models, artifacts)
        assert load(client, "other/load").status_code == 200
        request = {"model": "other", "instances": [{"a": 1.0, "b": 2.0}]}
        assert client.post("/explain", json=request).status_code == 200
        assert load(client, "frail/versions/1/unload").status_code == 200
        assert client.post("/predict", json={**new, "version": 1}).status_code == 404
        assert load(client, "frail/unload").status_code == 200
        assert client.post("/predict", json=new).status_code == 404
        last = load(client, "other/unload")
        assert (last.status_code, list(last.json())) == (400, ["error"])
        assert load(client, "nobody/load").status_code == 404


@pytest.mark.parametrize(
    "fault", ["changed", *(pytest.param(name, marks=pytest.mark.slow) for name in ("truncated", "no JSON"))]
)
def test_a_broken_build_changes_nothing_and_no_process_starts_on_it(world, tmp_path, fault):
    service, models, artifacts = world
    with service.client() as client:
        build = (artifacts / "frail").resolve()
        broken = build.with_name("frail-0123456789abcdef")
        shutil.copytree(build, broken)
        onnx, manifest = broken / "model.onnx", broken / "manifest.json"
        if fault == "changed":
            onnx.write_bytes(onnx.read_bytes()[:-1] + b"\0")
            manifest.write_bytes(manifest.read_bytes() + b"\n")
        elif fault == "truncated":
            onnx.write_bytes(onnx.read_bytes()[:100])
            manifest.write_bytes(manifest.read_bytes() + b"\n")
        else:
            manifest.write_bytes(b"{")
        link = artifacts / "link"
        link.symlink_to(broken.relative_to(artifacts))
        link.replace(artifacts / "frail")
        refused = load(client)
        assert refused.status_code == 400, refused.text
        assert "the previous build is still served" in refused.json()["error"]
        assert client.post("/explain", json=ask(1.0)).status_code == 200
        folders = ["--models", str(models), "--artifacts", str(artifacts), "--state", str(tmp_path / "other")]
        other = Running(["api", "--port", "0", *folders])
        assert other.process.wait(60) == 1
        other.stop()
        assert "frail" in other.lines[-1]
        assert client.post("/predict", json=ask(1.0)).status_code == 200
