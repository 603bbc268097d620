"""Starting on what another version of Whyserve left: artifacts and a queue file."""

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Running, start_service
from tests.export.folders import torch_folder
from tests.queues.test_versions import OTHER, jobs_in, version_4
from whyserve.export.build import export_all
from whyserve.model.manifest import FORMAT, MANIFEST_FILE


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one model and its artifact."""
    root = tmp_path_factory.mktemp("small")
    torch_folder(root / "models", "small")
    export_all(root / "models", root / "artifacts", 20, lambda _: None)
    return root


@pytest.fixture
def older(exported: Path, tmp_path: Path) -> Path:
    """A folder with one model, its artifact in format 1, and a queue file of version 4."""
    shutil.copytree(exported, tmp_path, symlinks=True, dirs_exist_ok=True)
    path = tmp_path / "artifacts" / "small" / MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 1}))
    version_4(tmp_path / "q").close()
    return tmp_path


@pytest.mark.parametrize("role", ["api", "worker"])
def test_api_and_worker_refuse_artifacts_of_another_version_with_one_line(role, older):
    folders = [f"--models={older / 'models'}", f"--artifacts={older / 'artifacts'}", f"--state={older / 'new'}"]
    running = Running([role, "--port", "0", *folders])
    assert running.process.wait(60) == 1
    running.stop()
    (line,) = running.lines
    assert line.startswith(f"whyserve {role}: small")
    assert line.endswith(f"(format 1, this program needs {FORMAT}); run `whyserve export`")


@pytest.mark.slow
def test_up_exports_again_and_leaves_the_other_queue_alone(older):
    service = start_service(older / "artifacts", older / "q", models=older / "models")
    try:
        with service.client() as client:
            request = {"model": "small", "instances": [{"a": 1.0, "b": 2.0}]}
            assert client.post("/explain", json=request).status_code == 200
    finally:
        assert service.stop() == 0, service.output
    assert sum(f"this program needs {FORMAT}); exporting small again" in line for line in service.lines) == 1
    assert sum(f"{OTHER}: made by another version" in line for line in service.lines) == 1
    assert jobs_in(older / "q" / OTHER) == [("accepted", "queued"), ("old", "done")]
