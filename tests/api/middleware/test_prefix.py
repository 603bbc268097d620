"""Behind a proxy: a path prefix, other origins, refusals of large bodies."""

import pytest

from tests.api.raw_http import read_answer
from tests.conftest import example
from whyserve.api.middleware.prefix import PREFIX


@pytest.fixture(scope="module")
def api(start_api):
    return start_api(
        "--root-path", "/why", "--trusted-proxies", "127.0.0.0/8", "--cors-origins", "https://a.example",
        "--max-body-mb", "1",
    )  # fmt: skip


@pytest.mark.parametrize("prefix", ["", "/why"])
@pytest.mark.parametrize(
    "path", ["/", "/help", "/docs", "/models", "/health/ready", "/v2", "/docs-assets/swagger-ui.css"]
)
def test_every_path_answers_with_and_without_the_prefix(prefix, path, api):
    with api.client() as client:
        assert client.get(prefix + path).status_code == 200


def test_addresses_in_answers_have_the_prefix(api):
    with api.client() as client:
        accepted = client.post("/explain", json=example("linear"), headers={"Prefer": "respond-async"})
        assert accepted.headers["location"].startswith("/why/explanations/")
        assert client.get(accepted.headers["location"]).status_code == 200
        assert client.get("/openapi.json").json()["servers"][0] == {"url": "/why"}
        assert '"/why/docs-assets/' in client.get("/docs").text.replace("'", '"')
        given = {"X-Forwarded-Prefix": "/other"}
        asked = {**given, "Prefer": "respond-async"}
        accepted = client.post("/explain", json=example("linear"), headers=asked)
        assert accepted.headers["location"].startswith("/other/explanations/")
        assert client.get("/other/models", headers=given).status_code == 200


def test_an_untrusted_peer_sets_no_prefix(service):
    with service.client() as client:
        headers = {"X-Forwarded-Prefix": "/other", "Prefer": "respond-async"}
        body = {**example("linear"), "seed": 3, "method": "permutation"}
        accepted = client.post("/explain", json=body, headers=headers)
        assert accepted.headers["location"].startswith("/explanations/")


@pytest.mark.parametrize("text", ["//a", "/a b", "http://a", "/a?b", "/../", "a"])
def test_an_unsafe_prefix_is_no_prefix(text):
    assert not PREFIX.fullmatch(text)


def test_listed_origins_may_call_the_api(api):
    with api.client() as client:
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST",
                 "Access-Control-Request-Headers": "authorization,content-type"}  # fmt: skip
        allowed = client.options("/explain", headers=asked)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        answer = client.post("/predict", json=example("linear"), headers={"Origin": "https://a.example"})
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        other = client.post("/predict", json=example("linear"), headers={"Origin": "https://b.example"})
        assert "access-control-allow-origin" not in other.headers
        assert client.options("/explain", headers={**asked, "Origin": "https://b.example"}).status_code == 400


def test_a_refusal_reaches_a_proxy_that_sends_the_whole_body_first(api):
    # As nginx does with its defaults: HTTP/1.0, the connection ends after the answer, and the body is sent first.
    for _ in range(10):
        with api.connect() as peer:
            peer.sendall(b"POST /predict HTTP/1.0\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (20 << 20))
            for _ in range(320):
                peer.sendall(b" " * (64 << 10))
            assert read_answer(peer)[0] == 413
            assert peer.recv(1) == b""  # the service closes the connection
    with api.client() as client:
        assert client.post("/predict", json=example("linear")).status_code == 200
