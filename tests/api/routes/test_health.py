"""Whether predictions and explanations are served."""

import httpx
import pytest

from tests.conftest import start_service


def test_predictions_are_ready_without_a_worker_and_explanations_are_not(start_api):
    with start_api().client() as client:
        found = client.get("/health/ready")
        assert (found.status_code, found.json()["workers"]) == (200, 0)
        answer = client.get("/health/ready?explain=1")
        assert answer.status_code == 503
        assert "no worker can explain the served models yet" in answer.json()["detail"]
        assert client.get("/health/ready?explain=yes").status_code == 422


def test_explanations_are_ready_with_a_worker(client):
    assert client.get("/health/ready?explain=1").status_code == 200


def test_probes_are_not_logged_at_info(start_api):
    running = start_api("--log-level", "info")
    with running.client() as client:
        client.get("/health/live")
        client.get("/metrics")
        client.get("/models")
    running.stop()
    routes = [line for line in running.output.splitlines() if "answered" in line]
    assert [("/models" in line) for line in routes] == [True]


@pytest.mark.parametrize("host", ["::", "[::]"])
def test_two_colons_as_host_serve_both_address_families(host, light, tmp_path):
    models, artifacts = light
    running = start_service(artifacts, tmp_path / "q", "--host", host, "--allow-anonymous", "true", models=models)
    try:
        running.await_line(r"ready on http://\[::\]:(\d+)")
        port = running.address.rpartition(":")[2]
        for address in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{address}:{port}/health/live", trust_env=False).status_code == 200
    finally:
        assert running.stop() == 0, running.output
