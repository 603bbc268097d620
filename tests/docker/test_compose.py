"""The containers together: what they answer, how they are held, and that nothing accepted is lost."""

import concurrent.futures
import time

import httpx
import pytest

from tests.api.oip.kserve_page import check_transcript
from tests.conftest import example, shipped
from tests.docker.conftest import DOWN_S, IMAGES, START_S, Project, run

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]

EXPLANATIONS = 200
# The API's and then the workers' 35 seconds, which may come one after the other, and Redis's 20.
GRACE_S = 90


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


def test_the_client_of_kserve_is_answered_by_the_containers(project: Project):
    check_transcript(f"http://127.0.0.1:{project.port}")


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
    ports = [port for c in project.containers(service) for port in c["NetworkSettings"]["Ports"].values() if port]
    assert ports == ([[{"HostIp": "127.0.0.1", "HostPort": str(project.port)}]] if service == "api" else [])


@pytest.mark.parametrize("service", ["api", "worker"])
def test_nobody_inside_writes_to_the_root_or_becomes_another(service, project: Project):
    identity = project.containers(service)[0]["Id"]
    wrote = run("docker", "exec", identity, "sh", "-c", "echo x > /srv/whyserve/x", check=False)
    assert "Read-only file system" in wrote.stderr
    became = run("docker", "exec", identity, "python", "-c", "import os; os.setuid(0)", check=False)
    assert "Operation not permitted" in became.stderr
    # Nor does a program that is root's by its setuid bit make anybody root, whichever one there is.
    held = run("docker", "exec", identity, "cat", "/proc/1/status").stdout
    said = dict(line.split(":\t", 1) for line in held.splitlines() if ":\t" in line)
    assert said["NoNewPrivs"] == "1"
    assert {int(said[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {0}


def test_a_killed_worker_and_a_restarted_redis_lose_nothing(project: Project):
    with project.client() as client, concurrent.futures.ThreadPoolExecutor(16) as callers:
        trouble = callers.submit(make_trouble, project)
        accepted = list(callers.map(lambda number: accept(client, number), range(EXPLANATIONS)))
        trouble.result()
        assert len(set(accepted)) == EXPLANATIONS
        answers = list(callers.map(lambda identity: await_end(client, identity), accepted))
    assert [answer["status"] for answer in answers] == ["done"] * EXPLANATIONS
    project.await_workers(3)
    assert sum(container["RestartCount"] for container in project.containers("worker")) >= 1


def make_trouble(project: Project) -> None:
    # Not `docker kill`, which says that the container is to stay ended: as the kernel kills what takes too much.
    kill = f"import os; os.kill({project.containers('worker')[0]['State']['Pid']}, 9)"
    ours = ["--pid=host", "--network=none", "--user=10001:10001", "--entrypoint=python"]
    run("docker", "run", "--rm", *ours, f"{IMAGES}-worker", "-c", kill)
    project.compose("restart", "redis")


def accept(client: httpx.Client, number: int) -> str:
    """Ask until it is accepted, as a caller does that is told 503; one key asks for one explanation however often."""
    name = ["breast_cancer", "wine"][number % 2]
    headers = {"Prefer": "respond-async", "Idempotency-Key": f"compose-{number}"}
    # A seed of its own, so that none is answered from the cache.
    body = {**example(name), "seed": 1 + number}
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


def test_three_workers_share_the_load(project: Project):
    with project.client() as client, concurrent.futures.ThreadPoolExecutor(16) as callers:
        bodies = [{**example("wine"), "seed": 5000 + number} for number in range(60)]
        answers = list(callers.map(lambda body: client.post("/explain", json=body), bodies))
    assert {answer.status_code for answer in answers} == {200}
    for container in project.containers("worker"):
        log = run("docker", "logs", container["Id"])
        assert '"explained"' in log.stdout + log.stderr


@pytest.mark.parametrize("service", ["api", "worker", "redis"])
def test_its_health_is_seen(service, project: Project):
    for container in project.containers(service):
        end = time.monotonic() + 60
        while health(container["Id"]) != "healthy" and time.monotonic() < end:
            time.sleep(0.5)
        assert health(container["Id"]) == "healthy"


def health(identity: str) -> str:
    return run("docker", "inspect", "-f", "{{.State.Health.Status}}", identity).stdout.strip()


def test_it_goes_down_in_time_and_well_and_keeps_what_it_accepted(project: Project):
    with project.client() as client:
        accepted = [accept(client, 1000 + number) for number in range(50)]
    since = str(int(time.time()))
    began = time.monotonic()
    project.compose("down", timeout_s=DOWN_S)
    assert time.monotonic() - began < GRACE_S
    ended = run(
        "docker", "events", "--since", since, "--until", str(int(time.time()) + 1),
        "--filter", "event=die", "--filter", f"label=com.docker.compose.project={project.name}",
        "--format", '{{index .Actor.Attributes "com.docker.compose.service"}} {{.Actor.Attributes.exitCode}}',
    ).stdout.split("\n")  # fmt: skip
    assert sorted(line for line in ended if line) == ["api 0", "redis 0", "worker 0", "worker 0", "worker 0"]
    project.compose("up", "-d", timeout_s=START_S)
    project.await_workers(1)
    with project.client() as client:
        assert {await_end(client, identity)["status"] for identity in accepted} == {"done"}
