"""Every request has a request id, continues a trace, and is counted."""

import asyncio
import gc
import re
import socket
import threading
from typing import Any

import pytest

from tests.conftest import example
from whyserve.api.middleware.answers import json_answer
from whyserve.api.middleware.body import BodyMemory
from whyserve.api.middleware.context import child_of, request_id_from
from whyserve.api.middleware.request import RequestMiddleware
from whyserve.settings import ApiSettings

SAMPLE = re.compile(r"(?m)^(whyserve_\w+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def figures(client):
    """(name, sorted labels) → value, for the service's own metrics."""
    text = client.get("/metrics").text
    return {(name, *sorted(LABEL.findall(labels))): float(value) for name, labels, value in SAMPLE.findall(text)}


def figure(client, name, **labels):
    return figures(client).get((name, *sorted(labels.items())), 0.0)


def test_every_answer_has_an_id_of_its_own(client):
    answers = [
        client.post("/predict", json=example("linear")),
        client.post("/predict", content="{"),
        client.post("/explain", json=example("linear")),
        client.get("/models"),
        client.get("/nowhere"),
        client.get("/metrics"),
    ]
    ids = [answer.headers["x-request-id"] for answer in answers]
    assert all(re.fullmatch(r"[0-9a-f]{32}", one) for one in ids)
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_the_callers_id_comes_back(path, client):
    answer = client.post(path, json=example("linear"), headers={"X-Request-Id": "order-17/a"})
    assert answer.headers.get_list("x-request-id") == ["order-17/a"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, 'a"b', "<script>", "naïve"])
def test_an_unsafe_request_id_is_replaced(given, client):
    headers = [(b"x-request-id", given.encode())]
    answer = client.post("/predict", json=example("linear"), headers=headers)
    assert answer.status_code == 200
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])


def test_ids_are_read_from_bytes():
    assert request_id_from(b"a-1") == "a-1"
    assert request_id_from(b"a\n1") != "a\n1"
    assert request_id_from(b"") != request_id_from(b"")


def test_the_trace_continues_with_a_new_span():
    child = child_of(f"00-{TRACE}-{SPAN}-01".encode())
    assert child is not None
    assert re.fullmatch(rf"00-{TRACE}-(?!{SPAN})[0-9a-f]{{16}}-01", child)


@pytest.mark.parametrize(
    "given",
    [
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}",
        "",
    ],
)
def test_an_invalid_traceparent_is_ignored(given, client):
    assert child_of(given.encode()) is None
    answer = client.post("/predict", json=example("linear"), headers={"traceparent": given})
    assert answer.status_code == 200


def test_requests_are_counted_by_route_model_and_status(client):
    def counted(**labels):
        return figure(client, "whyserve_requests_total", **labels)

    wanted = {
        "predict": {"route": "/predict", "model": "wine", "status": "200"},
        "refused": {"route": "/predict", "model": "", "status": "422"},
        "explain": {"route": "/explain", "model": "wine", "status": "200"},
        "lost": {"route": "/explanations/{id}", "model": "", "status": "404"},
        "other": {"route": "other", "model": "", "status": "404"},
    }
    before = {name: counted(**labels) for name, labels in wanted.items()}
    client.post("/predict", json=example("wine"))
    client.post("/predict", json={"model": "wine", "instances": []})
    client.post("/explain", json=example("wine"))
    client.get(f"/explanations/{'1' * 32}")
    client.get("/a/path/that/is/nowhere")
    after = {name: counted(**labels) for name, labels in wanted.items()}
    assert {name: after[name] - before[name] for name in wanted} == dict.fromkeys(wanted, 1)


def test_labels_never_contain_request_content(client):
    client.get("/s3cret-path")
    client.post("/predict", json={"model": "s3cret", "instances": [{}]})
    client.request("S3CRET", "/predict")
    assert "s3cret" not in client.get("/metrics").text.lower()


def test_metrics_are_labelled_by_model(client):
    batch = {"model": "penguins"}
    before = figure(client, "whyserve_batch_rows_sum", **batch)
    rows = example("penguins")["instances"] * 3
    client.post("/predict", json={"model": "penguins", "instances": rows}).raise_for_status()
    assert figure(client, "whyserve_batch_rows_sum", **batch) - before == len(rows)

    answer = client.post("/explain", json={**example("penguins"), "seed": 1234}).raise_for_status().json()
    told = figures(client)
    by = sorted({"model": "penguins", "method": answer["method"]}.items())
    assert told["whyserve_explanation_seconds_count", *by] >= 1
    assert told["whyserve_explanation_seconds_sum", *by] > 0
    assert told["whyserve_explanation_residual_count", *by] >= 1
    within = sorted({"model": "penguins", "method": answer["method"], "le": "0.001"}.items())
    assert told["whyserve_explanation_residual_bucket", *within] >= 1
    assert told["whyserve_request_seconds_count", ("model", "penguins"), ("route", "/predict")] >= 1
    assert told["whyserve_queue_depth",] == 0
    assert told["whyserve_workers",] == 1


def test_prometheus_can_parse_the_metrics(client):
    from prometheus_client.parser import text_string_to_metric_families

    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=")
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert {"whyserve_requests", "whyserve_request_seconds", "whyserve_batch_rows", "process_cpu_seconds"} <= families


@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_a_disconnect_during_the_body_is_counted_as_499(path, client, service):
    def gone():
        return figure(client, "whyserve_requests_total", route=path, model="", status="499")

    before = gone()
    host, port = service.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{{".encode())
    counted = threading.Event()
    for _ in range(300):
        if gone() == before + 1:
            counted.set()
            break
        counted.wait(0.1)
    assert counted.is_set()
    assert client.post(path, json=example("linear")).status_code == 200
    assert "Traceback" not in service.output


@pytest.mark.quick
def test_a_request_leaves_nothing_for_the_garbage_collector():
    """A function that refers to itself would keep each request's body and headers until a collection."""

    async def endpoint(scope, receive, send):
        await send(json_answer(b"{}"))

    async def receive():
        return {"type": "http.request", "body": b""}

    async def send(message):
        sent.append(message["type"])

    async def requests(count):
        for _ in range(count):
            await middleware({**scope, "state": {}}, receive, send)

    sent: list[str] = []
    scope: dict[str, Any] = {
        "type": "http",
        "method": "POST",
        "path": "/predict",
        "headers": [],
        "client": None,
        "root_path": "",
    }
    middleware = RequestMiddleware(
        endpoint, lambda _: endpoint, ApiSettings(), BodyMemory(1 << 20, 1 << 20), asyncio.Event()
    )
    asyncio.run(requests(10))
    gc.collect()
    gc.disable()
    try:
        asyncio.run(requests(1))
        few = gc.collect()
        asyncio.run(requests(101))
        assert gc.collect() - few < 100
    finally:
        gc.enable()
    assert len(sent) == 2 * 112


class WholeSend:
    """A `send` with `write_whole`, which says whether it wrote."""

    def __init__(self, *, writes: bool) -> None:
        self.writes, self.whole, self.messages = writes, b"", list[Any]()

    def write_whole(self, answer: bytes) -> bool:
        self.whole = answer if self.writes else b""
        return self.writes

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)


async def sent_by(send: WholeSend, answer: Any, *, shutting_down: bool = False, headers: Any = ()) -> tuple[Any, bytes]:
    """The headers and the content that a request for this answer sends."""

    async def endpoint(scope, receive, send):
        await send(answer)

    async def receive() -> Any:
        raise AssertionError("this endpoint reads no body")

    end = asyncio.Event()
    if shutting_down:
        end.set()
    given = [(b"x-request-id", b"one"), *headers]
    scope = {"type": "http", "method": "POST", "path": "/predict", "headers": given, "client": None, "root_path": ""}
    middleware = RequestMiddleware(endpoint, lambda _: endpoint, ApiSettings(), BodyMemory(1 << 20, 1 << 20), end)
    await middleware({**scope, "state": {}}, receive, send)
    if send.whole:
        head, _, content = send.whole.partition(b"\r\n\r\n")
        return sorted(tuple(line.split(b": ", 1)) for line in head.split(b"\r\n")), content
    head, *parts = send.messages
    return sorted(head["headers"]), b"".join(part["body"] for part in parts)


@pytest.mark.quick
@pytest.mark.parametrize("headers", [(), ((b"server-timing", b"queue;dur=1"), (b"vary", b"Accept"))])
def test_an_answer_in_one_step_is_the_answer_in_messages(headers):
    fast, slow = WholeSend(writes=True), WholeSend(writes=False)
    content = b'{"a":1}'
    wanted = asyncio.run(sent_by(slow, json_answer(content, headers)))
    assert asyncio.run(sent_by(fast, json_answer(content, headers))) == wanted
    assert fast.whole
    assert not fast.messages
    assert len(slow.messages) == 2
    assert wanted[1] == content
    assert set(headers) < set(wanted[0])


@pytest.mark.quick
def test_an_answer_is_sent_in_messages_if_it_may_be_compressed_or_closes_the_connection():
    long, gzip = json_answer(b"1" * 2000), ((b"accept-encoding", b"gzip"),)
    packed = WholeSend(writes=True)
    found, _ = asyncio.run(sent_by(packed, long, headers=gzip))
    assert (b"content-encoding", b"gzip") in found
    assert not packed.whole
    closing = WholeSend(writes=True)
    found, _ = asyncio.run(sent_by(closing, json_answer(b"{}"), shutting_down=True))
    assert (b"connection", b"close") in found
    assert not closing.whole


PATHS = (
    "/health/live",
    "/v2/health/ready",
    "/v2/models/penguins",
    "/v1/models/penguins",
    "/models",
    "/metrics",
    "/docs",
    "/",
)


@pytest.mark.parametrize("path", PATHS)
def test_head_has_the_headers_of_get_and_no_content(path, client):
    got, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]


def test_head_is_refused_where_get_is(client):
    assert client.head("/predict").status_code == client.get("/predict").status_code == 405
    assert client.head("/explanations/unknown").status_code == client.get("/explanations/unknown").status_code == 404


def test_a_head_request_is_counted_with_its_route(client):
    before = figure(client, "whyserve_requests_total", route="/v2/health/live", model="", status="200")
    client.head("/v2/health/live")
    assert figure(client, "whyserve_requests_total", route="/v2/health/live", model="", status="200") == before + 1
