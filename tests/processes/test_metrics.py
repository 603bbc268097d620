"""The worker's metrics obey the same rule of exposure as the API."""

import httpx
import pytest

from tests.queues.redis_server import free_port
from whyserve.api.middleware.keys import fresh
from whyserve.errors import ConfigurationError
from whyserve.processes.metrics import serve_metrics
from whyserve.settings import WorkerSettings


def get(port: int, **headers: str) -> httpx.Response:
    return httpx.get(f"http://127.0.0.1:{port}/metrics", headers=headers, trust_env=False)


def test_metrics_are_not_served_to_other_machines_without_keys():
    port = free_port()
    with pytest.raises(ConfigurationError, match="is open to other machines, and no API keys are set"):
        serve_metrics(WorkerSettings(host="0.0.0.0", worker_metrics_port=port))
    with pytest.raises(httpx.ConnectError):
        get(port)
    serve_metrics(WorkerSettings(host="0.0.0.0"))  # nothing is served
    serve_metrics(WorkerSettings(host="0.0.0.0", worker_metrics_port=port, allow_anonymous=True))
    assert "whyserve_worker_jobs" in get(port).text


def test_with_keys_metrics_need_one_of_the_scope_admin():
    (admin, first), (other, second) = fresh("boss", ["admin"]), fresh("ci", ["predict"])
    port = free_port()
    serve_metrics(WorkerSettings(host="0.0.0.0", worker_metrics_port=port, keys=f"{first};{second}"))
    assert get(port).status_code == 401
    assert get(port, **{"X-API-Key": "wrong"}).status_code == 401
    assert get(port, **{"X-API-Key": other}).status_code == 403
    for headers in ({"X-API-Key": admin}, {"Authorization": f"Bearer {admin}"}):
        answer = get(port, **headers)
        assert answer.status_code == 200
        assert "whyserve_worker_jobs" in answer.text


def test_an_address_in_use_is_an_error_of_the_setting():
    port = free_port()
    serve_metrics(WorkerSettings(worker_metrics_port=port))
    with pytest.raises(ConfigurationError, match=f"WHYSERVE_WORKER_METRICS_PORT: cannot listen on 127.0.0.1:{port}"):
        serve_metrics(WorkerSettings(worker_metrics_port=port))
