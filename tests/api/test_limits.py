"""Limits on bodies, heads and connections: no client makes the service use memory or fail."""

import contextlib
import json
import resource
import select
import socket
import threading
import time

import pytest

from tests.api.raw_http import (
    BODY,
    HEAD,
    MEGABYTE,
    READ_S,
    ask,
    read_answer,
    send_until_refused,
    sized,
    still_serves,
)
from whyserve.api.server.connection import MAX_CONNECTIONS


@pytest.fixture(scope="module")
def api(start_api):
    return start_api(
        "--max-body-mb", "2", "--max-inflight-mb", "16", "--read-timeout-s", str(READ_S), "--max-requests", "40"
    )


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
