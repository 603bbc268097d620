"""Processes that are killed while they start, a queue file that is damaged while the service runs, and many models."""

import json
import os
import re
import resource
import shutil
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.conftest import MODELS, Running, shipped, start_service
from tests.faults.conftest import ASYNC, ask, submit
from tests.faults.test_worker import await_final
from tests.test_service import children
from whyserve.model.builds import BUILDS, ORIGINAL
from whyserve.model.manifest import MANIFEST_FILE, Manifest, dump_manifest, read_manifest, sha256
from whyserve.queues.queue_file import DAMAGED, QUEUE_FILE

START_S = 120.0


def await_child(service: Running, role: str) -> int:
    end = time.monotonic() + START_S
    while time.monotonic() < end and service.process.poll() is None:
        if role in (found := children(service.process.pid)):
            return found[role]
        time.sleep(0.01)
    raise AssertionError(service.output)


@pytest.mark.faults
@pytest.mark.parametrize("role", ["worker", "api"])
def test_a_process_killed_at_its_first_start_is_started_again(role, start):
    service = start()
    os.kill(await_child(service, role), signal.SIGKILL)
    service.await_line(rf"the {role} died \(by SIGKILL\); starting another")
    with service.client() as client:
        assert client.post("/explain", json=ask(1.0)).status_code == 200


@pytest.mark.faults
def test_a_worker_that_reports_why_it_cannot_start_ends_the_service(frail, tmp_path):
    models, artifacts = frail
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        service = start_service(artifacts, tmp_path / "q", "--worker-metrics-port", port, models=models)
        assert service.process.wait(START_S) == 1
    service.stop()
    assert f"whyserve worker: WHYSERVE_WORKER_METRICS_PORT: cannot listen on 127.0.0.1:{port}" in service.output
    assert "whyserve up: the worker did not start (see the lines above)" in service.output
    assert "Traceback" not in service.output


@pytest.mark.faults
def test_explaining_goes_on_with_a_new_file_if_the_queue_s_file_is_damaged(start, tmp_path):
    service = start()
    with service.client() as client:
        gone = submit(client, 1.0)
        assert await_final(client, gone)["status"] == "done"
        pids = children(service.process.pid)
        for ending in ("-wal", ""):
            path = tmp_path / "q" / f"{QUEUE_FILE}{ending}"
            with path.open("r+b") as file:
                file.write(os.urandom(path.stat().st_size))
        end = time.monotonic() + 30
        while (answer := client.post("/explain", json=ask(2.0), headers=ASYNC)).status_code != 202:
            assert (answer.status_code, time.monotonic() < end) == (503, True), answer.text
            assert client.post("/predict", json=ask(1.0)).status_code == 200
        assert await_final(client, answer.json()["id"])["status"] == "done"
        lost = client.get(f"/explanations/{gone}")
        assert (lost.status_code, lost.json()["code"]) == (410, "explanation_gone")
        assert children(service.process.pid) == pids
    assert service.output.count(f"renamed to {DAMAGED}, and a new queue was created") == 1


@pytest.mark.faults
def test_a_worker_that_dies_on_a_full_disk_ends_neither_the_service_nor_predictions(start):
    service = start()
    with service.client() as client:
        assert client.post("/explain", json=ask(1.0)).status_code == 200
        pids = children(service.process.pid)
        everything = [service.process.pid, *pids.values()]
        for pid in everything:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
        os.kill(pids["worker"], signal.SIGKILL)
        service.await_line(r"the worker died \(by SIGKILL\)")
        end = time.monotonic() + 5
        while time.monotonic() < end:
            assert client.post("/predict", json=ask(1.0)).status_code == 200
            time.sleep(0.1)
        assert service.process.poll() is None, service.output
        for pid in [service.process.pid, *children(service.process.pid).values()]:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert client.post("/explain", json=ask(3.0), headers={"Prefer": "wait=60"}).status_code == 200
    assert "Traceback" not in service.output


def clone(name: str, new: str, artifacts: Path, root: Path) -> None:
    """The same model with another name, exported."""
    source, build = root / "models" / new, root / "build"
    shutil.copytree(MODELS / name, source)
    for file in ("model.toml", "example.json"):
        if (source / file).exists():
            (source / file).write_text((source / file).read_text().replace(f'"{name}"', f'"{new}"'))
    facts = json.loads(dump_manifest(read_manifest(artifacts / name)[0]))
    facts["spec"]["name"] = facts["example"]["model"] = new
    shutil.copytree((artifacts / name).resolve(), build)
    for original in (build / ORIGINAL).iterdir():
        shutil.copy(source / original.name, original)
        if original.name in facts["files"]:
            facts["files"][original.name] = sha256(original.read_bytes())
    content = dump_manifest(Manifest.model_validate(facts))
    (build / MANIFEST_FILE).write_bytes(content)
    place = root / "artifacts" / BUILDS / f"{new}-{sha256(content)[:16]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    build.rename(place)
    (root / "artifacts" / new).symlink_to(Path(BUILDS, place.name))


@pytest.mark.faults
def test_sixty_models_are_ready_within_three_minutes(artifacts, tmp_path):
    names = [f"{name}_{number}" for number in range(10) for name in shipped()][:60]
    for name in names:
        clone(name.rpartition("_")[0], name, artifacts, tmp_path)
    began = time.monotonic()
    service = start_service(tmp_path / "artifacts", tmp_path / "q", models=tmp_path / "models")
    try:
        service.await_line(r"ready on ", 180)
        print(f"60 models were ready after {time.monotonic() - began:.0f} s")
        assert service.output.count(": unchanged") == 60, service.output
        assert re.search(r"whyserve worker: \d+ of 60 models loaded", service.output) or time.monotonic() - began < 60
    finally:
        assert service.stop() == 0, service.output
