"""Peers that send too much, too slowly or invalid bytes get an answer or a closed connection, within limited memory."""

import contextlib
import json
import resource
import select
import socket
import threading
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import example
from whyserve.api.server.connection import MAX_CONNECTIONS

MEGABYTE = 1 << 20
BODY = json.dumps(example("linear")).encode()
HEAD = b"POST /predict HTTP/1.1\r\nHost: a\r\n"
READ_S = 2.0


@pytest.fixture(scope="module")
def api(start_api):
    return start_api("--max-body-mb", "2", "--read-timeout-s", str(READ_S), "--max-requests", "40")


def read_all(peer: socket.socket) -> bytes:
    """All bytes until the peer closes the connection."""
    parts = []
    with contextlib.suppress(ConnectionError):
        while part := peer.recv(65536):
            parts.append(part)
    return b"".join(parts)


def read_answer(peer: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """One answer with a Content-Length."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = peer.recv(65536)
        assert part, received
        received += part
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        part = peer.recv(65536)
        assert part, received
        body += part
    return int(first.split()[1]), headers, body


def send_until_refused(peer: socket.socket, piece: bytes, most: int) -> None:
    """Send without reading any answer."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            peer.sendall(piece)
            sent += len(piece)


def ask(api, request: bytes) -> tuple[int, dict[str, str], bytes]:
    with api.connect() as peer:
        peer.sendall(request)
        return read_answer(peer)


def still_serves(api) -> None:
    answer = httpx.post(f"{api.address}/predict", json=example("linear"), trust_env=False)
    assert answer.status_code == 200, answer.text


def sized(body: bytes, *lines: bytes) -> bytes:
    return b"".join([HEAD, *(line + b"\r\n" for line in lines), b"Content-Length: %d\r\n\r\n" % len(body), body])


# -- bodies ------------------------------------------------------------------------------------------


def test_a_large_content_length_is_refused_without_memory(api):
    before = api.forget_peak()
    with api.connect() as peer:
        peer.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % (100 * MEGABYTE))
        status, headers, body = read_answer(peer)
        assert status == 413
        assert headers["content-type"] == "application/problem+json"
        assert json.loads(body)["code"] == "body_too_large"
        send_until_refused(peer, b" " * MEGABYTE, 100 * MEGABYTE)
    assert api.peak() - before < 10 * MEGABYTE
    still_serves(api)


@pytest.mark.parametrize("path", [b"/predict", b"/explain", b"/v2/models/linear/infer", b"/v1/models/linear:predict"])
def test_an_endless_chunked_body_is_refused_at_the_limit(path, api):
    before = api.forget_peak()
    with api.connect() as peer:
        peer.sendall(b"POST %b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" % path)
        sender = threading.Thread(
            target=send_until_refused, args=(peer, b"10000\r\n" + b" " * 65536 + b"\r\n", 40 * MEGABYTE)
        )
        sender.start()
        assert read_answer(peer)[0] == 413
        sender.join()
    # The parts that were read, and their concatenation.
    assert api.peak() - before < 15 * MEGABYTE
    still_serves(api)


def test_a_body_at_the_limit_is_read(api):
    body = BODY + b" " * (2 * MEGABYTE - len(BODY))
    assert ask(api, sized(body))[0] == 200
    assert ask(api, sized(body + b" "))[0] == 413


# -- heads -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "line",
    [b"X-Long: " + b"a" * (60 << 10), b"\r\n".join(b"X-%d: a" % number for number in range(5000))],
    ids=["one long", "many"],
)
def test_a_large_head_is_refused(line, api):
    status, headers, body = ask(api, HEAD + line + b"\r\nContent-Length: 0\r\n\r\n")
    assert status == 431
    assert json.loads(body)["code"] == "head_too_large"
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("start", [HEAD + b"X-Long: ", HEAD, b"POST /"], ids=["a header", "headers", "the address"])
def test_an_endless_head_uses_no_memory(start, api):
    piece = b"a" * 8192 if not start.endswith(b"\n") else b"X-Some: aaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 256
    before = api.forget_peak()
    with api.connect() as peer:
        peer.sendall(start)
        sender = threading.Thread(target=send_until_refused, args=(peer, piece, 40 * MEGABYTE))
        sender.start()
        assert read_answer(peer)[0] in (400, 431)
        sender.join()
    assert api.peak() - before < 10 * MEGABYTE
    still_serves(api)


@pytest.mark.parametrize(
    "tail", [b"1;" + b"a" * 65536, b"0\r\nX-Trailer: " + b"a" * 65536], ids=["an extension", "a trailer"]
)
def test_chunk_extensions_and_trailers_use_no_memory(tail, api):
    before = api.forget_peak()
    with api.connect() as peer:
        peer.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n" + tail)
        send_until_refused(peer, b"a" * 65536, 40 * MEGABYTE)
    assert api.peak() - before < 10 * MEGABYTE
    still_serves(api)


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, b"GET\r\n\r\n", b"\0" * 99])
def test_invalid_http_gets_a_400(nonsense, api):
    status, _, body = ask(api, nonsense)
    assert status == 400
    assert json.loads(body)["code"] == "malformed_request"


# -- slow peers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start",
    [b"", b"POST /", HEAD, HEAD + b"Content-Length: 999\r\n\r\n", HEAD + b"Transfer-Encoding: chunked\r\n\r\n99\r\n{"],
    ids=["nothing", "an address", "half a head", "half a body", "half a chunk"],
)
@pytest.mark.parametrize("drip", [b"", b"a"], ids=["silent", "dripping"])
def test_a_slow_peer_is_disconnected_in_time(start, drip, api):
    if start == b"":
        drip *= 0
    with api.connect() as peer:
        began = time.monotonic()
        peer.sendall(start)
        stop = threading.Event()

        def trickle() -> None:
            with contextlib.suppress(OSError):
                while drip and not stop.wait(0.2):
                    peer.sendall(drip)

        sender = threading.Thread(target=trickle)
        sender.start()
        answer = read_all(peer)
        took = time.monotonic() - began
        stop.set()
        sender.join()
    # Without the start of a request, the connection is closed without an answer.
    assert not answer or answer.startswith(b"HTTP/1.1 408 ")
    assert took < READ_S + 8
    still_serves(api)


MANY = 300  # answers that no socket's buffers hold
SCHEMA = b"GET /openapi.json HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.fixture(scope="module")
def impatient(start_api):
    return start_api("--write-timeout-s", "3")


def connections(api) -> int:
    """The connections that the API holds: established, or closed by the peer alone."""
    lines = [line.split() for line in Path(f"/proc/{api.process.pid}/net/tcp").read_text().splitlines()[1:]]
    return sum(int(line[1].rpartition(":")[2], 16) == api.port and line[3] in {"01", "08"} for line in lines)


def await_connections(api, count: int, within_s: float) -> None:
    end = time.monotonic() + within_s
    while connections(api) != count:
        assert time.monotonic() < end, f"{connections(api)} connections, not {count}"
        time.sleep(0.1)


def test_a_peer_that_never_reads_is_disconnected(impatient):
    await_connections(impatient, 0, within_s=10)
    with impatient.connect() as peer:
        peer.sendall(SCHEMA * MANY)
        await_connections(impatient, 1, within_s=10)
        await_connections(impatient, 0, within_s=30)
        received = read_all(peer)
    assert received.count(b"HTTP/1.1 200 ") < MANY
    still_serves(impatient)


def test_a_peer_that_reads_late_gets_all_answers(impatient):
    with impatient.connect() as peer:
        peer.sendall(SCHEMA * (MANY - 1) + SCHEMA.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        time.sleep(1)
        received = read_all(peer)
    assert received.count(b"HTTP/1.1 200 ") == MANY
    assert received.endswith(b"}")


def test_parts_and_pauses_within_the_limits_are_accepted(api):
    request = sized(BODY, b"Content-Type: application/json")
    with api.connect() as peer:
        for first in (0, 10, len(request) - 20):
            peer.sendall(request[:first])
            time.sleep(0.3)
            peer.sendall(request[first:])
            assert read_answer(peer)[0] == 200
        time.sleep(READ_S + 0.5)
        peer.sendall(request)
        assert read_answer(peer)[0] == 200


# -- content of requests and answers --------------------------------------------------------------


def test_security_headers(api):
    for request in (
        sized(BODY),
        b"GET /models HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n",
    ):
        _, headers, _ = ask(api, request)
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"Content-Type: application/json", 200),
        (b"Content-Type: Application/JSON; charset=utf-8", 200),
        (b"Accept: */*", 200),
        (b"Content-Encoding: identity", 200),
        (b"Content-Type: application/x-www-form-urlencoded", 415),
        (b"Content-Type: text/plain", 415),
        (b"Content-Encoding: gzip", 415),
    ],
)
def test_unsupported_media_types_are_refused(line, status, api):
    answered, _, body = ask(api, sized(BODY, line))
    assert answered == status
    assert status == 200 or json.loads(body)["code"] == "unsupported_media_type"


@pytest.mark.parametrize(
    ("body", "field", "instance"),
    [
        (b'{"model": "linear", "instances": [{"bmi": 1.0, "bp": 2.0, "bmi": 3.0}]}', "bmi", 0),
        (b'{"model": "linear", "instances": [{"bmi": 1.0, "bp": 2.0}, {"bmi": 1.0, "bp": 2.0, "bp": 2.0}]}', "bp", 1),
        (b'{"model": "linear", "model": "linear", "instances": [{"bmi": 1.0, "bp": 2.0}]}', "model", None),
        (b'{"model": "linear", "mod\\u0065l": "linear", "instances": [{"bmi": 1.0, "bp": 2.0}]}', "model", None),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_duplicate_keys_are_refused(path, body, field, instance, api):
    answer = httpx.post(f"{api.address}{path}", content=body, trust_env=False)
    assert answer.status_code == 422, answer.text
    problem = answer.json()
    assert problem["code"] == "duplicate_key"
    assert problem["errors"][0]["field"] == field
    assert problem["errors"][0].get("instance") == instance


@pytest.mark.parametrize("number", ["1" * 5000, "1" * 400, "-1e999", "NaN", "Infinity", '"1"', "1e", "0x1", "01"])
def test_invalid_numbers_are_refused(number, api):
    body = b'{"model": "linear", "instances": [{"bmi": %b, "bp": 2.0}]}' % number.encode()
    answer = httpx.post(f"{api.address}/predict", content=body, trust_env=False)
    assert answer.status_code in (400, 422), answer.text
    assert len(answer.content) < 2000


def test_requests_beyond_the_limit_get_a_503(api):
    """Forty peers hold back the end of their bodies. The next request gets a 503, but health checks are answered."""
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            peer = stack.enter_context(api.connect())
            peer.sendall(HEAD + b"Content-Length: 100000\r\n\r\n" + b" " * 50000)
        end = time.monotonic() + READ_S
        statuses = set()
        while time.monotonic() < end and 503 not in statuses:
            status, headers, body = ask(api, sized(BODY))
            statuses.add(status)
        assert 503 in statuses
        assert headers["retry-after"] == "1"
        assert json.loads(body)["code"] == "busy"
        assert ask(api, b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")[0] == 200
    still_serves_soon(api)


def test_the_memory_of_all_bodies_is_limited(api):
    """Each body is within its own limit, but only eight of them fit into memory at once."""
    size = 2 * MEGABYTE
    with contextlib.ExitStack() as open_peers:
        peers = [open_peers.enter_context(api.connect()) for _ in range(10)]
        for peer in peers:
            peer.settimeout(20)
            with contextlib.suppress(ConnectionError):
                peer.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % size + b" " * (size - 1))
        told = [answer for answer in map(told_at_once, peers) if answer]
    assert {status for status, _, _ in told} <= {503, 408}
    busy = [(headers, json.loads(body)) for status, headers, body in told if status == 503]
    assert busy, told
    for headers, problem in busy:
        assert headers["retry-after"] == "1"
        assert problem["detail"] == "the service is reading too many large requests; retry later"
    still_serves_soon(api)


def told_at_once(peer: socket.socket) -> tuple[int, dict[str, str], bytes] | None:
    """The answer to an incomplete request, or None if there is none within a second."""
    ready, _, _ = select.select([peer], [], [], 1.0)
    try:
        return read_answer(peer) if ready else None
    except ConnectionError:
        return None


def test_the_number_of_connections_is_limited(start_api):
    most = MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, most + 500)), hard))
    try:
        api = start_api("--read-timeout-s", "60")
        with contextlib.ExitStack() as open_peers:
            peers = [open_peers.enter_context(api.connect()) for _ in range(most)]
            peers[0].sendall(sized(BODY))
            assert read_answer(peers[0])[0] == 200
            with api.connect() as late:
                status, headers, body = read_answer(late)
                assert (status, headers["retry-after"], json.loads(body)["code"]) == (503, "1", "busy")
                assert late.recv(1) == b""
            peers[0].sendall(sized(BODY))
            assert read_answer(peers[0])[0] == 200
        still_serves_soon(api)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def still_serves_soon(api) -> None:
    end = time.monotonic() + 30
    while ask(api, sized(BODY))[0] != 200:
        assert time.monotonic() < end
        time.sleep(0.05)
