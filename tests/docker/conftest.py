"""The containers, built from this checkout and running, for all tests of this folder."""

import json
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ["docker-compose"] if shutil.which("docker-compose") else ["docker", "compose"]
# Longer than the longest grace period.
DOWN_S = 90
BUILD_S, START_S = 1500, 180
# Images of their own: those that somebody works with stay as they are.
IMAGES = "whyserve-test"
BASE = os.environ.get("PYTHON_IMAGE", "python:3.11-slim-bookworm")


def run(
    *command: str, timeout_s: float = 120, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """A command's result, its output as text. Fails with what it said."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0 or not check, f"{' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@dataclass
class Project:
    """One compose project of a name of its own, published on a free port."""

    name: str
    port: int = field(default_factory=free_port)
    files: tuple[str, ...] = ("docker-compose.yml",)
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "COMPOSE_PROJECT_NAME": self.name,
            "WHYSERVE_PUBLISH": f"127.0.0.1:{self.port}",
            "WHYSERVE_IMAGES": IMAGES,
            "DOCKER_BUILDKIT": "0",
            **self.settings,
        }

    def compose(self, *arguments: str, timeout_s: float = 120, check: bool = True) -> subprocess.CompletedProcess[str]:
        files = [flag for file in self.files for flag in ("-f", file)]
        return run(*COMPOSE, *files, *arguments, timeout_s=timeout_s, check=check, **self.environment)

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", timeout_s=DOWN_S, check=False)

    def containers(self, service: str) -> list[dict[str, Any]]:
        """What `docker inspect` says of each of a service's containers."""
        ours = ["com.docker.compose.project=" + self.name, "com.docker.compose.service=" + service]
        found = run("docker", "ps", "-aq", *(f"--filter=label={label}" for label in ours)).stdout.split()
        assert found, f"{service} has no container"
        inspected: list[dict[str, Any]] = json.loads(run("docker", "inspect", *found).stdout)
        return inspected

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)

    def await_workers(self, count: int, timeout_s: float = START_S) -> None:
        end = time.monotonic() + timeout_s
        last = "nothing"
        with self.client() as client:
            while time.monotonic() < end:
                try:
                    answer = client.get("/health/ready")
                    last = answer.text
                    if answer.status_code == 200 and answer.json()["workers"] >= count:
                        return
                except httpx.HTTPError as error:
                    last = str(error)
                time.sleep(0.5)
        raise AssertionError(f"{last}\n{self.compose('logs', '--tail=40', check=False).stdout}")


@pytest.fixture(scope="session")
def engine() -> None:
    """A Docker engine; without one these tests are skipped on a laptop and fail in CI."""
    if shutil.which("docker") and run("docker", "info", check=False).returncode == 0:
        return
    if os.environ.get("CI"):
        pytest.fail("no Docker engine is running")
    pytest.skip("no Docker engine is running")


@pytest.fixture(scope="session")
def project(engine: None) -> Iterator[Project]:
    project = Project(f"whyserve-test-{os.getpid()}")
    project.compose("build", timeout_s=BUILD_S)
    try:
        project.compose("up", "-d", "--scale", "worker=3", timeout_s=START_S)
        project.await_workers(3)
        yield project
    finally:
        project.down()
