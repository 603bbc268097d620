"""Log lines of API and worker are JSON and have the id of their request."""

import json
import logging
import re
import urllib.request

import pytest

from tests.conftest import Running, example, some, start_service
from whyserve.telemetry.logs import JsonLines, about

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
FIXED = {"time", "level", "process", "logger", "message"}


def written(message="said", **extra):
    record = logging.getLogger("whyserve.test").makeRecord(
        "whyserve.test", logging.INFO, "", 0, message, (), None, extra=extra
    )
    return json.loads(JsonLines("api").format(record))


def test_fields_of_a_line():
    line = written("answered", status=200, model="wine")
    assert line | {"time": ""} == {
        "time": "", "level": "info", "process": "api", "logger": "whyserve.test", "message": "answered",
        "status": 200, "model": "wine",
    }  # fmt: skip
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line["time"])


def test_ids_are_logged_only_inside_their_request():
    with about("r-1", f"00-{TRACE}-00f067aa0ba902b7-01"):
        inside = written()
        with about("r-2", None):
            other = written()
        again = written()
    assert (inside["request_id"], inside["trace_id"]) == ("r-1", TRACE)
    assert other["request_id"] == "r-2"
    assert "trace_id" not in other
    assert again["request_id"] == "r-1"
    assert set(written()) == FIXED


def test_an_exception_is_one_line_with_its_traceback():
    try:
        raise ValueError("first\nsecond")
    except ValueError as error:
        record = logging.LogRecord("whyserve.test", logging.ERROR, "", 0, "failed", (), (type(error), error, None))
    text = JsonLines("worker").format(record)
    assert "\n" not in text
    assert json.loads(text)["error"] == "ValueError: first"
    assert "second" in json.loads(text)["traceback"]


@pytest.fixture(scope="module")
def talkative(artifacts, tmp_path_factory):
    """A service that logs everything, and whose worker serves its metrics on a free port."""
    models, artifacts = some(
        artifacts, tmp_path_factory.mktemp("some"), "breast_cancer", "fclayer", "penguins", "sunspots"
    )
    flags = ["--log-level", "info", "--worker-metrics-port", "0"]
    service = start_service(artifacts, tmp_path_factory.mktemp("state"), *flags, models=models)
    service.await_line(r"ready on ")
    yield service
    assert service.stop() == 0, service.output


def lines_of(service: Running, request_id: str, *messages: str):
    """The JSON lines of a request, when all the given messages are there."""
    for message in messages:
        service.await_line(rf'"message": "{message}".*"request_id": "{request_id}"', timeout_s=30)
    lines = [json.loads(line) for line in service.lines if line.startswith("{")]
    return [line for line in lines if line.get("request_id") == request_id]


def worker_figures(service: Running) -> str:
    port = service.await_line(r'"message": "serving metrics".*"port": (\d+)')[1]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        return str(answer.read(), "utf-8")


def test_a_request_can_be_followed_from_api_to_worker(talkative):
    headers = {"X-Request-Id": "follow-1", "traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    with talkative.client() as client:
        answer = client.post("/explain", json=example("penguins"), headers=headers).raise_for_status().json()
    lines = lines_of(talkative, "follow-1", "explained", "answered")
    by_process = {line["process"]: line for line in lines}
    assert set(by_process) == {"api", "worker"}
    assert {line["trace_id"] for line in lines} == {TRACE}
    assert by_process["worker"]["job"] == answer["id"]
    assert by_process["worker"]["model"] == "penguins"
    api = by_process["api"]
    assert (api["method"], api["route"], api["model"], api["status"]) == ("POST", "/explain", "penguins", 200)
    assert api["ms"] > 0


def test_batched_requests_have_their_own_lines(talkative):
    headers = [{"X-Request-Id": f"shared-{n}", "Prefer": "respond-async"} for n in range(4)]
    request = example("fclayer")
    with talkative.client() as client:
        for n, each in enumerate(headers):
            body = {**request, "instances": [{"bmi": 20.0 + n, "bp": 80.0}]}
            assert client.post("/explain", json=body, headers=each).status_code == 202
    for each in headers:
        explained = [
            line for line in lines_of(talkative, each["X-Request-Id"], "explained") if line["process"] == "worker"
        ]
        assert len(explained) == 1
        assert explained[0]["shared_by"] >= 1


def test_a_failed_explanation_is_logged_with_its_id(talkative):
    """Without any time, a method that samples has no result."""
    body = {**example("breast_cancer"), "method": "permutation", "deadline_s": 1e-6}
    with talkative.client() as client:
        answer = client.post("/explain", json=body, headers={"X-Request-Id": "late-1"})
    assert answer.status_code == 504, answer.text
    told = [line for line in lines_of(talkative, "late-1", "answered") if line["process"] == "api"]
    assert told[0]["status"] == 504


def test_the_worker_counts_its_jobs_and_times_its_work(talkative):
    with talkative.client() as client:
        headers = {"X-Request-Id": "counted-1"}
        answer = client.post("/explain", json=example("sunspots"), headers=headers).raise_for_status().json()
    lines_of(talkative, "counted-1", "explained")  # said last
    text = worker_figures(talkative)
    assert re.search(r'whyserve_worker_jobs_total\{end="done",model="sunspots"\} [1-9]', text)
    labels = rf'method="{answer["method"]}",model="sunspots"'
    assert re.search(rf"whyserve_worker_compute_seconds_count\{{{labels}\}} [1-9]", text)
    assert "process_cpu_seconds_total" in text
    assert "whyserve_queue_depth" not in text


def test_a_used_port_is_reported(talkative, artifacts, tmp_path):
    port = talkative.await_line(r'"message": "serving metrics".*"port": (\d+)')[1]
    folders = ["--artifacts", str(artifacts), "--state", str(tmp_path)]
    worker = Running(["worker", *folders, "--worker-metrics-port", port])
    assert worker.process.wait(60) == 1
    worker.stop()
    assert f"WHYSERVE_WORKER_METRICS_PORT: cannot listen on 127.0.0.1:{port}" in worker.output
    assert "Traceback" not in worker.output
