"""Large answers: compressed on request, in parts for slow readers, and bounded over all callers."""

import gzip
import json
import threading
import time

import httpx
import pytest

from tests.conftest import example
from whyserve.api.middleware.answers import LARGE

MEGABYTE = 1 << 20


@pytest.fixture(scope="module")
def api(start_api):
    return start_api("--max-inflight-mb", "1", "--write-timeout-s", "5")


def rows(count):
    return {"model": "digits", "instances": example("digits")["instances"] * count}


def test_a_large_answer_is_compressed_only_on_request(client):
    with client.stream("POST", "/predict", json=rows(600), headers={"Accept-Encoding": "identity"}) as plain:
        raw = b"".join(plain.iter_raw())
        assert "content-encoding" not in plain.headers
    assert len(raw) > LARGE
    with client.stream("POST", "/predict", json=rows(600), headers={"Accept-Encoding": "gzip"}) as packed:
        body = b"".join(packed.iter_raw())
        assert packed.headers["content-encoding"] == "gzip"
        assert int(packed.headers["content-length"]) == len(body) < len(raw) / 4
    assert gzip.decompress(body) == raw


def test_a_small_answer_is_never_compressed(client):
    answer = client.post("/predict", json=example("digits"), headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


@pytest.mark.parametrize("path", ["/predict", "/explain", "/v1/models/linear:predict", "/v2/models/linear/infer"])
@pytest.mark.parametrize("coding", ["gzip", "identity"])
def test_a_compressed_body_is_read_on_every_route(path, coding, client):
    body = example("linear")
    if path.startswith("/v1"):
        body = {"instances": body["instances"]}
    if path.startswith("/v2"):
        body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [36.1, 115.0]}]}
    content = json.dumps(body).encode()
    content = gzip.compress(content) if coding == "gzip" else content
    answer = client.post(path, content=content, headers={"Content-Encoding": coding})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("content", "coding", "status", "words"),
    [
        (b"no gzip", "gzip", 422, "does not match its Content-Encoding"),
        (gzip.compress(b"{}", mtime=0)[:-5], "gzip", 422, "is cut off, or has extra bytes"),
        (gzip.compress(b"{}", mtime=0) + b"x", "gzip", 422, "is cut off, or has extra bytes"),
        (b"{}", "br", 415, "must be gzip, deflate or identity"),
    ],
    ids=["no gzip", "cut off", "extra bytes", "another coding"],
)
def test_a_damaged_compressed_body_is_refused(content, coding, status, words, client):
    answer = client.post("/predict", content=content, headers={"Content-Encoding": coding})
    assert (answer.status_code, words in answer.json()["detail"]) == (status, True), answer.text


def test_sixty_bodies_of_blanks_are_unpacked_within_one_bound(api):
    packed = gzip.compress(b" " * (31 * MEGABYTE), 9)
    before = api.forget_peak()

    def send():
        with httpx.Client(base_url=api.address, timeout=60, trust_env=False) as client:
            found.append(client.post("/explain", content=packed, headers={"Content-Encoding": "gzip"}).status_code)

    found: list[int] = []
    threads = [threading.Thread(target=send) for _ in range(60)]
    for thread in threads:
        thread.start()
    with api.client() as probe:
        while any(thread.is_alive() for thread in threads):
            began = time.perf_counter()
            assert probe.get("/health/live").status_code == 200
            assert time.perf_counter() - began < 5  # on a busy machine; benchmarks/attack.py measures it
            time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert set(found) <= {400, 413, 422, 503}
    assert len(found) == 60
    # 8 bodies of 32 MiB are allowed, and each is joined once.
    assert api.peak() - before < 350 * MEGABYTE


def test_slow_readers_of_large_answers_are_bounded(api):
    with api.client() as client:
        size = len(client.post("/predict", json=rows(600), headers={"Accept-Encoding": "identity"}).content)
    body = json.dumps(rows(600)).encode()
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    assert size > LARGE
    peers = [api.connect() for _ in range(20)]
    try:
        for peer in peers:
            peer.sendall(head + body)
        with api.client() as client:
            for _ in range(5):
                answer = client.post("/predict", json=rows(600), headers={"Accept-Encoding": "identity"})
                assert answer.status_code in {200, 503}
                assert client.get("/health/live").status_code == 200
    finally:
        for peer in peers:
            peer.close()
    with api.client() as client:
        deadline = time.monotonic() + 20
        while client.post("/predict", json=rows(600)).status_code != 200:
            assert time.monotonic() < deadline, "the memory of answers is given back"
            time.sleep(0.2)
