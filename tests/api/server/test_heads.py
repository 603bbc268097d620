"""Upgrades are ignored, and a request needs one Host header."""

import json
import re

import pytest

from tests.api.raw_http import read_all, read_answer, still_serves
from tests.conftest import example

BODY = json.dumps(example("linear")).encode()
UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
WEBSOCKET = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YQ==\r\n"


def request(*headers: bytes, body: bytes = BODY, version: bytes = b"1.1") -> bytes:
    head = b"POST /predict HTTP/" + version + b"\r\nContent-Type: application/json\r\n"
    return head + b"".join(headers) + b"Content-Length: %d\r\n\r\n" % len(body) + body


@pytest.fixture(scope="module")
def api(start_api):
    return start_api()


@pytest.mark.parametrize("upgrade", [UPGRADE, WEBSOCKET], ids=["h2c", "websocket"])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_an_upgrade_is_ignored(upgrade, parts, api):
    content = request(b"Host: a\r\n", upgrade)
    size = -(-len(content) // parts)
    with api.connect() as peer:
        for first in range(0, len(content), size):
            peer.sendall(content[first : first + size])
        status, _, body = read_answer(peer)
        assert status == 200, body
        # The connection goes on as before.
        peer.sendall(request(b"Host: a\r\n"))
        assert read_answer(peer)[0] == 200


def test_requests_after_an_upgrade_are_answered_in_order(api):
    with api.connect() as peer:
        plain = request(b"Host: a\r\n")
        bad = request(b"Host: a\r\n", UPGRADE, body=b"{}")
        peer.sendall(plain + bad + plain + request(b"Host: a\r\n", UPGRADE, b"Connection: close\r\n"))
        answers = read_all(peer)
    assert re.findall(rb"HTTP/1.1 (\d+) ", answers) == [b"200", b"422", b"200", b"200"]


def test_the_body_of_an_upgrade_is_no_request(api):
    hidden = b"GET /models HTTP/1.1\r\nHost: a\r\n\r\n"
    with api.connect() as peer:
        peer.sendall(request(b"Host: a\r\n", UPGRADE, b"Connection: close\r\n", body=hidden))
        answers = read_all(peer)
    assert answers.startswith(b"HTTP/1.1 400 ")
    assert answers.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize(
    ("hosts", "version", "status"),
    [
        ((), b"1.1", 400),
        ((b"Host: a\r\n", b"Host: b\r\n"), b"1.1", 400),
        ((), b"1.0", 200),
        ((b"host: a\r\n",), b"1.1", 200),
    ],
    ids=["none", "two", "none in HTTP/1.0", "one"],
)
def test_a_request_has_one_host(hosts, version, status, api):
    with api.connect() as peer:
        peer.sendall(request(*hosts, version=version))
        assert read_answer(peer)[0] == status
    still_serves(api)
