"""Open event streams have a limit of their own, and take no places of other requests."""

import contextlib

import pytest

from tests.conftest import example
from whyserve.api.middleware.keys import fresh
from whyserve.api.middleware.streams import MAX_STREAMS, MAX_STREAMS_PER_KEY, Streams
from whyserve.errors import Busy

ASYNC = {"Prefer": "respond-async"}


def follow(api, place, *lines):
    """A connection that follows an explanation, and the status of its answer."""
    peer = api.connect()
    peer.sendall(b"\r\n".join([f"GET {place}/events HTTP/1.1".encode(), b"Host: a", *lines, b"", b""]))
    return peer, int(peer.recv(1024).split()[1])


def test_streams_leave_the_places_of_other_requests(start_api):
    api = start_api("--max-requests", "3")
    with api.client() as client, contextlib.ExitStack() as open_streams:
        place = client.post("/explain", json=example("linear"), headers=ASYNC).headers["location"]
        for _ in range(5):
            peer, status = follow(api, place)
            open_streams.enter_context(peer)
            assert status == 200
        assert client.post("/predict", json=example("linear")).status_code == 200


def test_a_key_has_few_streams(start_api):
    (secret, line), (other, another) = fresh("a", ["explain"]), fresh("b", ["explain"])
    api = start_api(WHYSERVE_KEYS=f"{line};{another}")
    with api.client(headers={"X-API-Key": secret}) as client, contextlib.ExitStack() as open_streams:
        place = client.post("/explain", json=example("linear"), headers=ASYNC).headers["location"]
        for number in range(MAX_STREAMS_PER_KEY + 1):
            peer, status = follow(api, place, f"X-API-Key: {secret}".encode())
            open_streams.enter_context(peer)
            assert status == (200 if number < MAX_STREAMS_PER_KEY else 503)
        asked = {**ASYNC, "X-API-Key": other}
        place = client.post("/explain", json=example("linear"), headers=asked).headers["location"]
        peer, status = follow(api, place, f"X-API-Key: {other}".encode())
        open_streams.enter_context(peer)
        assert status == 200


def test_all_callers_share_one_limit_and_places_are_given_back():
    streams = Streams()
    with contextlib.ExitStack() as opened:
        for number in range(MAX_STREAMS):
            opened.enter_context(streams.open(f"key{number // 5}"))
        with pytest.raises(Busy, match="too many event streams"), streams.open("new"):
            pass
    with streams.open("new"):
        pass
