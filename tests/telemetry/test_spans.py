"""Traces of API and worker, as received by a small real collector."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.conftest import Running, example, some, start_service

TRACE, CALLER = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


class Collector:
    """Receives spans over OTLP (HTTP, protobuf) and keeps them as dictionaries."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                assert (self.path, self.headers["Content-Type"]) == ("/v1/traces", "application/x-protobuf")
                collector.take(ExportTraceServiceRequest.FromString(body))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        host, port = self._server.server_address[:2]
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{host!s}:{port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "NO_PROXY": "127.0.0.1",
        }

    def take(self, request: ExportTraceServiceRequest) -> None:
        with self._changed:
            for resource in request.resource_spans:
                (service,) = [a.value.string_value for a in resource.resource.attributes if a.key == "service.name"]
                for scope in resource.scope_spans:
                    self.spans.extend(self._read(service, span) for span in scope.spans)
            self._changed.notify_all()

    def _read(self, service: str, span: Any) -> dict[str, Any]:
        values = {each.key: each.value for each in span.attributes}
        return {
            "service": service,
            "name": span.name,
            "trace": span.trace_id.hex(),
            "id": span.span_id.hex(),
            "parent": span.parent_span_id.hex(),
            "ms": (span.end_time_unix_nano - span.start_time_unix_nano) / 1e6,
            "began": span.start_time_unix_nano,
            "failed": span.status.code == span.status.STATUS_CODE_ERROR,
            **{key: getattr(value, value.WhichOneof("value")) for key, value in values.items()},
        }

    def of_trace(self, trace: str, count: int) -> dict[str, dict[str, Any]]:
        """The trace's spans by name, when there are `count` of them."""

        def found() -> list[dict[str, Any]]:
            return [span for span in self.spans if span["trace"] == trace]

        with self._changed:
            assert self._changed.wait_for(lambda: len(found()) >= count, 60), self.spans
            return {span["name"]: span for span in found()}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="module")
def traced(artifacts, collector, tmp_path_factory) -> Iterator[Running]:
    models, artifacts = some(artifacts, tmp_path_factory.mktemp("some"), "breast_cancer", "fclayer", "sunspots")
    service = start_service(artifacts, tmp_path_factory.mktemp("state"), models=models, **collector.environment)
    service.await_line(r"ready on ")
    yield service
    assert service.stop() == 0, service.output


def test_a_request_is_one_trace_in_api_and_worker(traced, collector):
    with traced.client(headers={"traceparent": TRACEPARENT, "X-Request-Id": "r-1"}) as client:
        answer = client.post("/explain", json={**example("fclayer"), "seed": 5}).raise_for_status().json()
    spans = collector.of_trace(TRACE, 4)
    request, predict, wait, explain = (spans[name] for name in ("POST /explain", "predict", "queue wait", "explain"))
    assert request["parent"] == CALLER
    assert {predict["parent"], wait["parent"], explain["parent"]} == {request["id"]}
    assert request["service"] == predict["service"] == "whyserve-api"
    assert wait["service"] == explain["service"] == "whyserve-worker"
    assert request["http.response.status_code"] == 200
    assert request["whyserve.request_id"] == "r-1"
    assert wait["whyserve.job"] == explain["whyserve.job"] == answer["id"]
    assert explain["whyserve.method"] == answer["method"]
    assert {span["whyserve.model"] for span in spans.values()} == {"fclayer"}
    assert not any(span["failed"] for span in spans.values())
    assert request["began"] <= predict["began"] <= wait["began"] <= explain["began"]
    assert all(0 <= span["ms"] <= request["ms"] for span in spans.values())


def test_predictions_of_every_protocol_are_traced(traced, collector):
    place = "/v2/models/fclayer/infer"
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [30.0, 90.0]}
    with traced.client() as client:
        client.post("/predict", json=example("fclayer")).raise_for_status()
        client.post(place, json={"inputs": [tensor]}, headers={"traceparent": "nonsense"}).raise_for_status()
    for name in ("POST /predict", "POST /v2/models/{model}/infer"):
        (request,) = _awaited(collector, name)
        assert request["parent"] == ""
        spans = collector.of_trace(request["trace"], 2)
        assert spans["predict"]["parent"] == request["id"]
        assert spans["predict"]["whyserve.rows"] == 1


def test_failed_requests_have_failed_spans(traced, collector):
    late = {**example("breast_cancer"), "method": "permutation", "deadline_s": 1e-6}
    trace = TRACE[::-1]
    with traced.client(headers={"traceparent": f"00-{trace}-{CALLER}-01"}) as client:
        assert client.post("/explain", json=late).status_code == 504
    assert collector.of_trace(trace, 2)["POST /explain"]["failed"]


def test_probes_are_not_traced(traced, collector):
    with traced.client() as client:
        client.get("/health/ready").raise_for_status()
        client.get("/metrics").raise_for_status()
        client.get("/models").raise_for_status()
    _awaited(collector, "GET /models")
    assert not [span for span in collector.spans if "health" in span["name"] or "metrics" in span["name"]]


def test_new_builds_are_traced_too(traced, collector):
    with traced.client() as client:
        client.post("/v2/repository/models/sunspots/load").raise_for_status()
        client.post("/predict", json=example("sunspots")).raise_for_status()
    spans = [each for each in _awaited(collector, "predict", "sunspots") if each["whyserve.model"] == "sunspots"]
    assert spans


def _awaited(collector: Collector, name: str, model: str | None = None) -> list[dict[str, Any]]:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        found = [span for span in collector.spans if span["name"] == name]
        if model is not None:
            found = [span for span in found if span["whyserve.model"] == model]
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(collector.spans)


@pytest.mark.slow
def test_an_unavailable_collector_delays_nothing(light, tmp_path):
    models, artifacts = light
    settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    service = start_service(artifacts, tmp_path / "q", models=models, **settings)
    service.await_line(r"ready on ")
    with service.client() as client:
        client.post("/explain", json=example("fclayer")).raise_for_status()
    assert service.stop(timeout_s=29) == 0, service.output
    assert "killed" not in service.output


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "no traces: OTEL_EXPORTER_OTLP_PROTOCOL is grpc"),
    ],
)
def test_the_environment_can_disable_tracing(environment, said, monkeypatch, caplog):
    from whyserve.telemetry.setup import open_tracer

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert open_tracer("api") is None
    assert [said] == [message[: len(said)] for message in caplog.messages] if said else not caplog.messages
