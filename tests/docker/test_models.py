"""A folder of one's own models, mounted: the line of docker/models.yml."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import MODELS, example
from tests.docker.conftest import BUILD_S, START_S, Project, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]


@pytest.fixture
def own(project: Project, tmp_path: Path) -> Iterator[Project]:
    folder = tmp_path / "mine"
    folder.mkdir()
    own = Project(
        f"whyserve-own-{os.getpid()}",
        files=("docker-compose.yml", "docker/models.yml"),
        settings={"MODELS": str(folder)},
    )
    own.compose("build", "export", timeout_s=BUILD_S)  # not the image of an earlier run
    yield own
    own.down()


def fill(own: Project, *names: str) -> Path:
    folder = Path(own.settings["MODELS"])
    for name in names:
        shutil.copytree(MODELS / name, folder / name)
    run("chmod", "-R", "a+rX", str(folder))
    return folder


def test_it_is_exported_served_and_explained(own: Project):
    fill(own, "fclayer")
    own.compose("up", "-d", timeout_s=START_S + 120)
    own.await_workers(1)
    with own.client() as client:
        assert client.get("/health/ready").json()["models"] == ["fclayer"]
        for path in ("/predict", "/explain"):
            answer = client.post(path, json=example("fclayer"))
            assert answer.status_code == 200, answer.text


def test_one_that_is_broken_is_named_and_nothing_is_served(own: Project):
    folder = fill(own, "fclayer")
    (folder / "fclayer" / "weights.safetensors").write_bytes(b"")
    done = own.compose("up", "-d", timeout_s=START_S + 120, check=False)
    assert done.returncode != 0
    (export,) = own.containers("export")
    assert export["State"]["ExitCode"] == 1
    log = run("docker", "logs", export["Id"])
    assert "whyserve export: fclayer/" in log.stderr
    running = own.compose("ps", "--services", "--filter", "status=running").stdout.split()
    assert not {"api", "worker"} & set(running)


def test_an_empty_folder_is_named(own: Project):
    fill(own)
    done = own.compose("up", "-d", timeout_s=START_S, check=False)
    assert done.returncode != 0
    log = run("docker", "logs", own.containers("export")[0]["Id"])
    assert log.stderr.splitlines() == ["whyserve export: models: no folder in it holds a model.toml"]
