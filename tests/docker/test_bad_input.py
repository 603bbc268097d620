"""What an operator may get wrong: the container ends, and its one line says what to change."""

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docker.conftest import IMAGES, START_S, Project, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

ARTIFACTS = "/srv/whyserve/artifacts"
RETRIES = 5


def only_line(role: str, *flags: str) -> str:
    """What a container says that cannot start. Fails when it can, or says more than a line."""
    done = run(
        "docker",
        "run",
        "--rm",
        "--read-only",
        "--tmpfs=/tmp",
        "--env=WHYSERVE_ALLOW_ANONYMOUS=true",
        *flags,
        f"{IMAGES}-{role}",
        check=False,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    lines = (done.stdout + done.stderr).splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"whyserve {role}: ")
    return lines[0]


@pytest.mark.parametrize("role", ["api", "worker"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [("PORT", "eighty"), ("LOG_LEVEL", "loud"), ("QUEUE_DEPTH", "0"), ("REDIS_URL", "http://redis")],
)
def test_a_wrong_setting_is_named(role, setting, value, project: Project):
    assert f"WHYSERVE_{setting}: " in only_line(role, "-e", f"WHYSERVE_{setting}={value}")


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_redis_that_is_not_there_is_named(role, project: Project):
    flags = ["-e", "WHYSERVE_REDIS_URL=redis://nowhere.invalid:6379/0", "-e", "WHYSERVE_REDIS_WAIT_S=0"]
    line = only_line(role, *flags)
    assert "WHYSERVE_REDIS_URL: Redis cannot be reached" in line
    assert "nowhere.invalid:6379" in line


@pytest.mark.parametrize("role", ["api", "worker"])
@pytest.mark.parametrize("who", ["", "whyserve:not-this@"], ids=["no password", "a wrong password"])
def test_a_password_that_is_missing_or_wrong(role, who, project: Project):
    flags = [f"--network={project.name}_inside", "-e", f"WHYSERVE_REDIS_URL=redis://{who}redis:6379/0"]
    line = only_line(role, *flags)
    assert "WHYSERVE_REDIS_URL: Redis refused the user or password" in line
    assert "not-this" not in line


def test_a_queue_without_a_password(project: Project):
    assert "REDIS_PASSWORD is not set" in only_line("redis", "-e", "REDIS_PASSWORD=")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One that every user may read, whatever this user's own files are like."""
    made = tmp_path / "mounted"
    made.mkdir()
    made.chmod(0o755)
    return made


@pytest.mark.parametrize("role", ["api", "worker"])
def test_an_empty_folder_of_artifacts(role, folder, project: Project):
    assert "no folder in it holds a manifest.json" in only_line(role, "-v", f"{folder}:{ARTIFACTS}:ro")


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_broken_manifest_is_named(role, folder, project: Project):
    (folder / "wine").mkdir(mode=0o755)
    (folder / "wine" / "manifest.json").write_text("{")
    assert "wine/manifest.json: " in only_line(role, "-v", f"{folder}:{ARTIFACTS}:ro")


@pytest.mark.parametrize(("role", "file"), [("api", "model.onnx"), ("worker", "original/weights.safetensors")])
def test_a_file_that_is_not_what_was_exported_is_named(role, file, folder, project: Project):
    name = f"copied-{os.getpid()}"
    run("docker", "create", "--name", name, f"{IMAGES}-{role}")
    try:
        run("docker", "cp", f"{name}:{ARTIFACTS}/.", str(folder))
    finally:
        run("docker", "rm", name)
    # The first that is loaded, and a quick one.
    broken = (folder / "breast_cancer").resolve() / file
    broken.write_bytes(broken.read_bytes()[:-1])
    line = only_line(role, "-v", f"{folder}:{ARTIFACTS}:ro")
    assert line.endswith(f"/{Path(file).name}: not the file that was exported; run `whyserve export`")
    assert "breast_cancer" in line


@pytest.fixture
def other(project: Project) -> Iterator[Project]:
    """A second project beside the first, of the same images."""
    other = Project(f"whyserve-other-{os.getpid()}")
    yield other
    other.down()


def test_compose_shows_what_has_ended_and_does_not_start_it_for_ever(other: Project):
    other.settings["WHYSERVE_LOG_LEVEL"] = "loud"
    other.compose("up", "-d", timeout_s=START_S, check=False)
    for service in ("api", "worker"):
        end = time.monotonic() + 120
        while (state := other.containers(service)[0])["State"]["Status"] != "exited":
            assert time.monotonic() < end, state["State"]
            time.sleep(0.5)
        assert state["State"]["ExitCode"] == 1
        assert state["RestartCount"] == RETRIES
        log = run("docker", "logs", state["Id"]).stderr.splitlines()
        assert len(log) == RETRIES + 1
        assert all(line.startswith(f"whyserve {service}: WHYSERVE_LOG_LEVEL: ") for line in log)


def test_a_port_in_use_is_named(other: Project):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        other.port = taken.getsockname()[1]
        done = other.compose("up", "-d", timeout_s=START_S, check=False)
    assert done.returncode != 0
    assert str(other.port) in done.stderr
    assert "already" in done.stderr
    assert other.containers("api")[0]["State"]["Status"] == "created"
