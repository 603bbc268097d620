"""What the content of a request must be, and the headers of every answer."""

import base64
import io
import json

import httpx
import pytest
from PIL import Image

from tests.api.raw_http import BODY, READ_S, ask, sized
from tests.conftest import example


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
        (b"Content-Encoding: br", 415),
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


TENSOR = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [36.5, 115.0]}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/predict", example("linear")),
        ("/explain", example("linear")),
        ("/v1/models/linear:predict", {"instances": example("linear")["instances"]}),
        ("/v2/models/linear/infer", {"inputs": [TENSOR]}),
        ("/v2/models/linear/explain", {"inputs": [TENSOR]}),
    ],
)
@pytest.mark.parametrize("headers", [{}, {"Content-Type": "application/json; charset=utf-8"}])
def test_a_byte_order_mark_and_a_missing_type_are_accepted(path, body, headers, client):
    content = b"\xef\xbb\xbf" + json.dumps(body).encode()
    assert client.post(path, content=content, headers=headers).status_code == 200


def test_base64_of_tensorflow_serving_is_the_string_in_it(client):
    content = io.BytesIO()
    Image.new("L", (8, 8), 90).save(content, "PNG")
    text = base64.b64encode(content.getvalue()).decode()
    row, wrapped = {"image": text}, {"image": {"b64": text}}
    asked = [
        client.post("/v1/models/digits:predict", json={"instances": [one]})
        for one in (row, wrapped, text, {"b64": text})
    ]
    asked += [client.post("/predict", json={"model": "digits", "instances": [one]}) for one in (row, wrapped)]
    found = [answer.raise_for_status().json()["predictions"] for answer in asked]
    assert all(each == found[0] for each in found)
    explained = client.post(
        "/explain", json={"model": "digits", "instances": [wrapped], "background": [wrapped], "method": "permutation"}
    )
    assert explained.raise_for_status().json()["explanations"][0]["prediction"] == found[0][0]
    for wrong in ({"b64": 3}, {"b64": text, "more": ""}, {}):
        refused = client.post("/predict", json={"model": "digits", "instances": [{"image": wrong}]})
        assert refused.status_code == 422


def test_fp64_is_accepted_where_fp32_is_exact(client):
    def infer(datatype, data):
        tensor = {**TENSOR, "datatype": datatype, "data": data}
        return client.post("/v2/models/linear/infer", json={"inputs": [tensor]})

    assert infer("FP64", [36.5, 115.0]).json()["outputs"] == infer("FP32", [36.5, 115.0]).json()["outputs"]
    refused = infer("FP64", [36.1, 115.0])
    assert refused.status_code == 400
    assert "FP64 with numbers that FP32 cannot hold; send FP32" in refused.json()["error"]
