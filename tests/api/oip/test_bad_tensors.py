"""Every invalid request under /v1 and /v2 gets {"error": …}. No answer is a 422 or 5xx, or repeats the request."""

import gzip
import json
import struct
import zlib
from typing import Any

import pytest

# `linear` takes two numbers; `penguins` has two inputs, one of them of category codes.
GOOD: dict[str, Any] = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [30.0, 90.0]}
RAW = struct.pack("<2f", 30.0, 90.0)
SECRET = "s3cret"


def tensor(**change):
    """The valid tensor with changes. None removes a key."""
    changed = {**GOOD, **change}
    return {key: value for key, value in changed.items() if value is not None}


def asked(*tensors, **rest):
    return {"inputs": list(tensors), **rest}


def sized(size, **change):
    return tensor(data=None, parameters={"binary_data_size": size}, **change)


JSON_CASES: dict[str, tuple[Any, str]] = {
    "not an object": ([1], "the body must be an object"),
    "no inputs": ({}, '"inputs" is missing'),
    "inputs is no list": ({"inputs": 3}, '"inputs" must be a list'),
    "an input is null": (asked(None), '"inputs[0]" must be an object'),
    "no tensors": (asked(), 'input "x" is missing'),
    "no name": (asked(tensor(name=None)), '"inputs[0].name" is missing'),
    "name is a number": (asked(tensor(name=4)), '"inputs[0].name" must be a string'),
    "unknown input": (asked(tensor(name=SECRET)), "inputs[0]: unknown input; available inputs: x"),
    "twice": (asked(GOOD, GOOD), 'duplicate input "x"'),
    "no shape": (asked(tensor(shape=None)), '"inputs[0].shape" is missing'),
    "shape of words": (asked(tensor(shape=["1", 2])), '"inputs[0].shape[0]" must be a whole number'),
    "shape below zero": (asked(tensor(shape=[-1, 2])), '"inputs[0].shape[0]" must be at least 0'),
    "shape beyond all": (asked(tensor(shape=[2**70, 2])), '"inputs[0].shape[0]" must be'),
    "shape of many dimensions": (asked(tensor(shape=[1] * 40)), '"inputs[0].shape" must hold at most 16'),
    "shape not matching data": (asked(tensor(shape=[2, 2])), "data has 2 elements, but its shape needs 4"),
    "shape of nothing": (asked(tensor(shape=[0, 2], data=[])), "there are no rows"),
    "shape of another model": (asked(tensor(shape=[2, 1])), "has shape (2, 1); (rows, 2) is needed"),
    "shape without rows": (asked(tensor(shape=[2])), "has shape (2,); (rows, 2) is needed"),
    "shape of one number": (asked(tensor(shape=[], data=[1.0])), "has shape (); (rows, 2) is needed"),
    "nested otherwise": (asked(tensor(shape=[2, 2], data=[[1.0, 2.0], [3.0]])), "data is not nested like its shape"),
    "nested too deep": (asked(tensor(data=[[[1.0, 2.0]]])), "data is not nested like its shape at depth 2"),
    "no datatype": (asked(tensor(datatype=None)), '"inputs[0].datatype" is missing'),
    "unknown datatype": (asked(tensor(datatype=SECRET)), "its datatype must be one of BOOL, UINT8"),
    "wrong datatype": (asked(tensor(datatype="INT64", data=[1, 2])), "has datatype INT64, but must have FP32"),
    "strings": (asked(tensor(datatype="BYTES", data=["a", "b"])), "has datatype BYTES, but must have FP32"),
    "too many inputs": ({"inputs": [tensor()] * 1001}, '"inputs" must hold at most 1000'),
    "no data": (asked(tensor(data=None)), "must have either data or binary_data_size"),
    "data is no list": (asked(tensor(data=3.0)), '"inputs[0].data" must be a list'),
    "data of words": (asked(tensor(data=[1.0, SECRET])), "data[1] (flattened, row-major) must be a number for FP32"),
    "data with null": (
        asked(tensor(data=[None, 1.0])),
        "data[0] (flattened, row-major) must be a number for FP32; to send missing values",
    ),
    "data with bool": (asked(tensor(data=[1.0, True])), "data[1] (flattened, row-major) must be a number"),
    "data too large": (asked(tensor(data=[1e300, 1.0])), "holds a number that is not finite"),
    "data larger still": (asked(tensor(data=[10**400, 1.0])), "contains a number that is too large for FP32"),
    "both ways at once": (asked(tensor(parameters={"binary_data_size": 0})), "must have either data or binary_data"),
    "shared memory": (asked(tensor(parameters={"shared_memory_region": "r"})), "shared memory is not supported"),
    "binary size below zero": (asked(sized(-8)), '"inputs[0].parameters.binary_data_size" must be at least 0'),
    "binary size is a word": (asked(sized("8")), '"inputs[0].parameters.binary_data_size" must be a whole number'),
    "binary size without bytes": (asked(sized(8)), "its binary_data_size is larger"),
    "id is a number": (asked(GOOD, id=7), '"id" must be a string'),
    "parameters is a list": (asked(GOOD, parameters=[]), '"parameters" must be an object'),
    "binary output is a word": (asked(GOOD, parameters={"binary_data_output": "yes"}), "must be true or false"),
    "outputs is no list": (asked(GOOD, outputs="output"), '"outputs" must be a list'),
    "unknown output": (asked(GOOD, outputs=[{"name": SECRET}]), "outputs[0]: unknown output; available outputs: "),
    "output twice": (asked(GOOD, outputs=[{"name": "output"}] * 2), "outputs[1]: duplicate output"),
    "binary is a word": (
        asked(GOOD, outputs=[{"name": "output", "parameters": {"binary_data": "yes"}}]),
        '"outputs[0].parameters.binary_data" must be true or false',
    ),
    "too many rows": (asked(tensor(shape=[1001, 2], data=[1.0] * 2002)), "have 1001 rows; send at most 1000"),
}


def check(answer, words, status=400):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert list(body) == ["error"]
    assert words in body["error"]
    assert SECRET not in answer.text
    assert "Traceback" not in answer.text
    assert "/app/" not in answer.text
    assert len(answer.content) < 2000


@pytest.mark.parametrize("case", JSON_CASES)
def test_an_invalid_tensor_is_refused_with_a_reason(case, client):
    body, words = JSON_CASES[case]
    check(client.post("/v2/models/linear/infer", content=json.dumps(body)), words)
    if "output" not in case:  # the outputs of an explanation are others
        check(client.post("/v2/models/linear/explain", content=json.dumps(body)), words)


def framed(header, tail=RAW, length=None):
    """A body of JSON and bytes, with the header for the length of the JSON."""
    head = json.dumps(header).encode()
    size = str(len(head)) if length is None else length
    return {"content": head + tail, "headers": {"Inference-Header-Content-Length": size}}


def strings(*elements):
    return b"".join(struct.pack("<I", len(element)) + element for element in elements)


def texts(raw, shape=(1, 2)):
    """A tensor of strings in these bytes."""
    return framed(asked(sized(len(raw), datatype="BYTES", shape=list(shape))), raw)


FRAMES: dict[str, tuple[dict[str, Any], str]] = {
    "length is a word": (framed(asked(sized(8)), length="ten"), "must be a number of bytes"),
    "length below zero": (framed(asked(sized(8)), length="-1"), "must be a number of bytes"),
    "length beyond the body": (framed(asked(sized(8)), length="5000"), "is larger than the body"),
    "length beyond all": (framed(asked(sized(8)), length="9" * 400), "must be a number of bytes"),
    "length within the JSON": (framed(asked(sized(8)), length="20"), "the body is not JSON"),
    "length within the bytes": (
        {
            **framed(asked(sized(8))),
            "headers": {"Inference-Header-Content-Length": str(len(json.dumps(asked(sized(8)))) + 3)},
        },
        "the body is not JSON",
    ),
    "size less than the bytes": (framed(asked(sized(4))), "has 4 bytes, but its shape and FP32 need 8"),
    "size more than the bytes": (framed(asked(sized(12))), "larger than the rest of the body"),
    "size of another shape": (framed(asked(sized(8, shape=[2, 2]))), "has 8 bytes, but its shape and FP32 need 16"),
    "bytes that belong to nothing": (framed(asked(GOOD)), "has 8 extra bytes after the last tensor"),
    "bytes after the last": (framed(asked(sized(8)), RAW + b"abc"), "has 3 extra bytes after the last tensor"),
    "not finite": (
        framed(asked(sized(8)), struct.pack("<2f", float("nan"), 1)),
        "is not finite; to send missing values, set `missing`",
    ),
    "BOOL of other bytes": (framed(asked(sized(2, datatype="BOOL")), b"\1\7"), "a byte other than 0 and 1"),
    "BYTES of another type": (texts(strings(b"a", b"bc")), "has datatype BYTES, but must have FP32"),
    "BYTES that run over": (
        texts(struct.pack("<I", 3) + b"abc" + struct.pack("<I", 9) + b"abc"),
        "BYTES element 1 ends after",
    ),
    "BYTES of a giant": (
        texts(strings(b"a")[:4] + b"\xff\xff\xff\xff"),
        "ends after the tensor's last byte",
    ),
    "BYTES cut short": (texts(b"\0\0\0\0\0\0"), "too few for 2 BYTES elements"),
    "BYTES that go on": (texts(strings(b"a", b"b", b"c")), "has 5 extra bytes after its last BYTES element"),
    "BYTES of a great shape": (texts(b"", (2**31 - 1, 2**31 - 1)), "has 0 bytes, too few for"),
    "bare and short": ({"content": RAW[:6], "headers": {"Inference-Header-Content-Length": "0"}}, "has 6 bytes, but"),
    "bare and long": ({"content": RAW * 2, "headers": {"Inference-Header-Content-Length": "0"}}, "has 16 bytes, but"),
}


@pytest.mark.parametrize("case", FRAMES)
def test_inconsistent_binary_bodies_are_refused(case, client):
    request, words = FRAMES[case]
    check(client.post("/v2/models/linear/infer", **request), words)
    check(client.post("/v2/models/linear/explain", **request), words)


def test_a_body_without_json_needs_one_input(client):
    answer = client.post("/v2/models/penguins/infer", content=RAW, headers={"Inference-Header-Content-Length": "0"})
    check(answer, "needs a model with one input; this model has several")


def test_category_codes_are_validated(client):
    measured = {"name": "measured", "shape": [1, 4], "datatype": "FP32", "data": [39.1, 18.7, 181, 3750]}
    for data, words in (
        ([1.0, 0], "must be a whole number for INT64"),
        ([2**70, 0], "a number outside the range of INT64"),
        ([0, 2], 'outside the categories of "sex"'),
    ):
        known = {"name": "known", "shape": [1, 2], "datatype": "INT64", "data": data}
        check(client.post("/v2/models/penguins/infer", json=asked(measured, known)), words)
    unequal = {"name": "known", "shape": [2, 2], "datatype": "INT64", "data": [0, 1, 0, 1]}
    check(client.post("/v2/models/penguins/infer", json=asked(measured, unequal)), "different numbers of rows")


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"id": "\\ud800"}'])
def test_invalid_json_is_refused(content, client):
    for path in ("/v2/models/linear/infer", "/v2/models/linear/explain", "/v1/models/linear:predict"):
        check(client.post(path, content=content), "the body is not JSON")


def test_unknown_paths_models_and_versions(client):
    unknown = "unknown model; available models: "
    for path in ("/v2/models/nope", "/v2/models/nope/ready", "/v2/models/nope/stats", "/v1/models/nope"):
        check(client.get(path), unknown, 404)
    for path in ("/v2/models/nope/infer", "/v2/models/nope/explain", "/v1/models/nope:predict"):
        check(client.post(path, json=asked(GOOD)), unknown, 404)
    for version in ("2", "0", "1.5", "one", "9" * 30):
        check(
            client.get(f"/v2/models/linear/versions/{version}"), "unknown version of linear; available versions: 1", 404
        )
        check(
            client.post(f"/v2/models/linear/versions/{version}/infer", json=asked(GOOD)),
            "unknown version of linear; available versions: 1",
            404,
        )
    check(client.post("/v2/models/linear/verses/1/infer", json=asked(GOOD)), "unknown path", 404)
    check(client.get("/v2/nowhere"), "Not Found", 404)
    check(client.get("/v2/models/linear/infer"), "Method Not Allowed", 405)
    check(client.post("/v2/repository/index", content=b"{"), "the body is not JSON")
    check(client.post("/v2/repository/index", json={"ready": "yes"}), '"ready" must be true or false')


def test_a_body_that_does_not_match_its_content_encoding(client):
    body = json.dumps(asked(GOOD)).encode()
    for coding, content, words, status in (
        ("gzip", body, "does not match its Content-Encoding", 400),
        ("deflate", gzip.compress(body), "does not match its Content-Encoding", 400),
        ("gzip", gzip.compress(body)[:-6], "is cut off", 400),
        ("gzip", gzip.compress(body) + b"more", "is cut off", 400),
        ("gzip", b"", "is cut off", 400),
        ("br", body, "must be gzip, deflate or identity", 415),
        ("gzip, gzip", body, "must be gzip, deflate or identity", 415),
    ):
        answer = client.post("/v2/models/linear/infer", content=content, headers={"Content-Encoding": coding})
        check(answer, words, status)


def test_the_decompressed_size_is_limited(narrow):
    # 900 MiB in less than one.
    bomb = zlib.compressobj()
    packed = b"".join(bomb.compress(b" " * (1 << 20)) for _ in range(900)) + bomb.flush()
    assert len(packed) < 1 << 20
    for path in ("/v2/models/linear/infer", "/v2/models/linear/explain", "/v1/models/linear:predict"):
        answer = narrow.post(path, content=packed, headers={"Content-Encoding": "deflate"})
        check(answer, "the body is larger than 1 MiB; send fewer", 413)
    padded = gzip.compress(json.dumps(asked(GOOD)).encode().ljust(1 << 20))
    answer = narrow.post("/v2/models/linear/infer", content=padded, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 200, answer.text


V1_CASES: dict[str, tuple[Any, str]] = {
    "not an object": ([1], "the body must be an object"),
    "no instances": ({}, '"instances" is missing'),
    "none": ({"instances": []}, '"instances" must hold at least 1'),
    "null": ({"instances": [None]}, "instances[0] must be an object"),
    "unknown field": ({"instances": [{"bmi": 1.0, "bp": 2.0, "age": 3}]}, 'instances[0]: "age" is an unknown field'),
    "bare and short": ({"instances": [[1.0]]}, "instances: data is not nested like its shape"),
    "bare and uneven": ({"instances": [[1.0, 2.0], [1.0]]}, "instances: data is not nested like its shape"),
    "bare of words": ({"instances": [[1.0, SECRET]]}, "instances: data[1] (flattened, row-major) must be a number"),
    "bare and not finite": ({"instances": [[1.0, 1e300]]}, "holds a number that is not finite"),
    "bare and then named": ({"instances": [[1.0, 2.0], {"bmi": 1}]}, "instances: data is not nested like its shape"),
    "too many": ({"instances": [[1.0, 2.0]] * 1001}, "have 1001 rows; send at most 1000"),
    "too many by name": ({"instances": [{"bmi": 1.0, "bp": 2.0}] * 1001}, '"instances" must hold at most 1000'),
    "unknown key": ({"instances": [[1.0, 2.0]], "colour": 3}, '"colour" is an unknown field'),
    "summary": ({"instances": [[1.0, 2.0]], "summary": True}, '"summary" is an unknown field'),
    "summary by name": ({"instances": [{"bmi": 1.0, "bp": 2.0}], "summary": True}, '"summary" is an unknown field'),
}


@pytest.mark.parametrize("verb", ["predict", "explain"])
@pytest.mark.parametrize("case", V1_CASES)
def test_v1_errors_name_the_place(case, verb, client):
    body, words = V1_CASES[case]
    check(client.post(f"/v1/models/linear:{verb}", json=body), words)


def test_v1_numbers_need_one_input(client):
    answer = client.post("/v1/models/penguins:predict", json={"instances": [[1.0, 2.0]]})
    check(answer, "instances[0] must be an object, because this model has several inputs")
