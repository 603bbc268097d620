"""What the content of a request must be, and the headers of every answer."""

import json

import httpx
import pytest

from tests.api.raw_http import BODY, READ_S, ask, sized


@pytest.fixture(scope="module")
def api(start_api):
    return start_api("--max-body-mb", "2", "--read-timeout-s", str(READ_S), "--max-requests", "40")


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
