"""The containers together: what they answer, how they are held, and that nothing accepted is lost."""

import concurrent.futures
import threading
import time

import httpx
import pytest

from tests.conftest import example, shipped
from tests.docker.conftest import Project, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

EXPLANATIONS = 200


@pytest.mark.parametrize("name", shipped())
def test_every_model_predicts_and_explains_through_the_published_port(name, project: Project):
    with project.client() as client:
        predicted = client.post("/predict", json=example(name))
        assert predicted.status_code == 200, predicted.text
        explained = client.post("/explain", json=example(name))
        assert explained.status_code == 200, explained.text
    (prediction,), (explanation,) = predicted.json()["predictions"], explained.json()["explanations"]
    assert explanation["prediction"] == prediction
    for output in explanation["outputs"]:
        scale = max(1.0, abs(output["value"]), abs(output["base_value"]))
        assert abs(output["residual"]) <= 1e-3 * scale


@pytest.mark.parametrize("service", ["api", "worker", "redis"])
def test_a_container_is_held_tightly(service, project: Project):
    for container in project.containers(service):
        host = container["HostConfig"]
        assert host["ReadonlyRootfs"]
        assert host["CapDrop"] == ["ALL"]
        assert not host["CapAdd"]
        assert any(option.startswith("no-new-privileges") for option in host["SecurityOpt"])
        assert host["Memory"] > 0
        assert host["NanoCpus"] > 0
        assert host["PidsLimit"] > 0
        assert not host["Privileged"]
        assert container["Config"]["User"] not in ("", "0", "root")
    published = {port for c in project.containers(service) for port in c["NetworkSettings"]["Ports"].values() if port}
    assert service == "api" or not published


@pytest.mark.parametrize("service", ["api", "worker"])
def test_nobody_inside_writes_to_the_root_or_becomes_another(service, project: Project):
    identity = project.containers(service)[0]["Id"]
    wrote = run("docker", "exec", identity, "sh", "-c", "echo x > /srv/whyserve/x", check=False)
    assert "Read-only file system" in wrote.stderr
    became = run("docker", "exec", identity, "python", "-c", "import os; os.setuid(0)", check=False)
    assert "Operation not permitted" in became.stderr


def test_a_killed_worker_and_a_restarted_redis_lose_nothing(project: Project):
    trouble = threading.Thread(target=make_trouble, args=(project,))
    with project.client() as client, concurrent.futures.ThreadPoolExecutor(16) as callers:
        trouble.start()
        accepted = list(callers.map(lambda number: accept(client, number), range(EXPLANATIONS)))
        trouble.join()
        assert len(set(accepted)) == EXPLANATIONS
        answers = list(callers.map(lambda identity: await_end(client, identity), accepted))
    assert [answer["status"] for answer in answers] == ["done"] * EXPLANATIONS
    project.await_workers(3)


def make_trouble(project: Project) -> None:
    time.sleep(0.5)
    run("docker", "kill", "--signal", "KILL", project.containers("worker")[0]["Id"])
    time.sleep(1)
    project.compose("restart", "redis")


def accept(client: httpx.Client, number: int) -> str:
    """Ask until it is accepted, as a caller does that is told 503; one key asks for one explanation however often."""
    name = ["breast_cancer", "wine"][number % 2]
    headers = {"Prefer": "respond-async", "Idempotency-Key": f"compose-{number}"}
    body = {**example(name), "seed": number}
    end = time.monotonic() + 120
    while time.monotonic() < end:
        answer = client.post("/explain", json=body, headers=headers)
        if answer.status_code == 202:
            identity: str = answer.json()["id"]
            return identity
        assert answer.status_code == 503, answer.text
        time.sleep(float(answer.headers["Retry-After"]))
    raise AssertionError(f"explanation {number} was never accepted")


def await_end(client: httpx.Client, identity: str) -> dict[str, str]:
    end = time.monotonic() + 180
    state: dict[str, str] = {}
    while time.monotonic() < end:
        answer = client.get(f"/explanations/{identity}")
        if answer.status_code == 200:
            state = answer.json()
            if state["status"] not in ("queued", "running"):
                return state
        else:
            assert answer.status_code == 503, answer.text
        time.sleep(0.2)
    return state


def test_it_stops_in_time_and_well(project: Project):
    began = time.monotonic()
    project.compose("stop", "--timeout", "35", timeout_s=120)
    assert time.monotonic() - began < 40
    for service in ("api", "worker", "redis"):
        assert {container["State"]["ExitCode"] for container in project.containers(service)} == {0}, service
    project.compose("up", "-d", "--scale", "worker=3", timeout_s=180)
    project.await_workers(3)
