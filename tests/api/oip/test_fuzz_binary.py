"""Generated requests of the binary extension. Valid ones get the right answer, mutated ones get any answer."""

import gzip
import json
import math
import struct
import zlib
from dataclasses import dataclass, replace

import httpx
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from tests.api.fuzzing import bounded, gives_away, with_something_long
from tests.conftest import ROOT
from whyserve.api.oip.encoding import DATATYPES
from whyserve.model.manifest import read_manifest
from whyserve.model.spec import ModelSpec
from whyserve.predict.session import OnnxSession

ALLOWED = {200, 400, 404, 413}
MODELS = ["linear", "penguins", "digits", "sunspots"]
SMALL = 0.1  # of what is made up in every run of the tests
BEFORE_LAST = 64  # bytes of a body that a change is drawn to: few bodies are longer


@dataclass(frozen=True)
class Request:
    path: str
    header: bytes
    tail: bytes
    length: str | None
    coding: str = ""

    def send(self, client: httpx.Client) -> httpx.Response:
        body = self.header + self.tail
        headers = {} if self.length is None else {"Inference-Header-Content-Length": self.length}
        if self.coding:
            headers["Content-Encoding"] = self.coding
            body = gzip.compress(body) if self.coding == "gzip" else zlib.compress(body)
        return client.post(self.path, content=body, headers=headers)

    def strings(self):
        """Parts that an answer must not repeat."""
        try:
            header = json.loads(self.header)
        except ValueError:
            header = self.header
        return [header, self.tail, self.length or ""]


def spec_of(name: str) -> ModelSpec:
    return read_manifest(ROOT / "artifacts" / name)[0].spec


def rows_for(spec, count, rng):
    """Any numbers that the model accepts."""
    found = {}
    for item in spec.inputs:
        if item.is_integer:
            limits = [len(feature.categories) for feature in item.features]
            found[item.name] = rng.integers(0, limits, (count, len(limits))).astype(item.dtype)
        else:
            found[item.name] = rng.normal(50, 30, (count, *item.row_shape)).astype(item.dtype)
    return found


@st.composite
def true_requests(draw):
    """A valid request, with its model's name and its rows."""
    name = draw(st.sampled_from(MODELS))
    spec = spec_of(name)
    arrays = rows_for(spec, draw(st.integers(1, 5)), np.random.default_rng(draw(st.integers(0, 2**32))))
    tensors, tail = [], b""
    for key in draw(st.permutations(list(arrays))):
        array = arrays[key]
        datatype = {"float32": "FP32", "int64": "INT64"}[array.dtype.name]
        tensor = {"name": key, "shape": list(array.shape), "datatype": datatype}
        if draw(st.booleans()):
            tensor["parameters"] = {"binary_data_size": array.nbytes}
            tail += array.tobytes()
        else:
            tensor["data"] = array.tolist() if draw(st.booleans()) else array.reshape(-1).tolist()
        tensors.append(tensor)
    content = {"id": draw(st.text(max_size=8)), "inputs": tensors}
    if draw(st.booleans()):
        content["parameters"] = {"binary_data_output": draw(st.booleans())}
    if draw(st.booleans()):
        content["outputs"] = [{"name": "output", "parameters": {"binary_data": draw(st.booleans())}}]
    header = json.dumps(content).encode()
    verb = f"/v2/models/{name}{draw(st.sampled_from(['', '/versions/1']))}/infer"
    coding = draw(st.sampled_from(["", "", "gzip", "deflate"]))
    length = str(len(header)) if tail or draw(st.booleans()) else None
    return name, arrays, content, Request(verb, header, tail, length, coding)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
SIZES = st.integers(-5, 200) | st.sampled_from([2**31, 2**63, 2**64, 10**30])


def bend_header(draw, content, request):
    """Change one value of the JSON. The declared length stays correct."""
    place = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        inside = place[key]
        if not isinstance(inside, dict | list) or not inside or draw(st.booleans()):
            break
        place = inside
    if draw(st.integers(0, 9)) == 0:
        place[key] = draw(with_something_long(inside))
    elif key == "datatype":
        place[key] = draw(st.sampled_from([*DATATYPES, "BF16", "fp32", ""]))
    elif key == "shape":
        place[key] = draw(st.lists(SIZES, max_size=5))
    elif key == "binary_data_size":
        place[key] = draw(SIZES)
    elif isinstance(place, dict) and draw(st.booleans()):
        del place[key]
    else:
        place[key] = draw(JSON)
    header = json.dumps(content).encode()
    return replace(request, header=header, length=request.length and str(len(header)))


def bend_length(draw, _, request):
    return replace(request, length=draw(SIZES.map(str) | st.text(st.characters(codec="ascii", categories=["L", "N"]))))


def bend_tail(draw, _, request):
    """Bytes cut, added or changed."""
    cut = draw(st.integers(0, min(len(request.tail), BEFORE_LAST)))
    return replace(request, tail=request.tail[:cut] + draw(st.binary(max_size=40)) + request.tail[cut + 8 :])


def bend_strings(draw, content, request):
    """Send the first tensor as BYTES, with lengths that may be wrong."""
    match content["inputs"]:
        case [dict() as tensor, *_]:
            pass
        case _:
            return request  # bent already
    count = draw(st.integers(0, 4))
    parts = [struct.pack("<I", draw(st.integers(0, 12) | st.just(2**32 - 1))) + draw(st.binary(max_size=12))
             for _ in range(count)]  # fmt: skip
    raw = b"".join(parts)
    tensor.pop("data", None)
    tensor.update(datatype="BYTES", shape=[count], parameters={"binary_data_size": len(raw)})
    header = json.dumps({**content, "inputs": [tensor]}).encode()
    return replace(request, header=header, tail=raw, length=str(len(header)))


def bend_path(draw, _, request):
    place = draw(st.sampled_from(["/v2/models/nope/infer", "/v2/models/linear/versions/2/infer", "/v2/models//infer"]))
    return replace(request, path=place)


BENDS = [bend_header, bend_header, bend_length, bend_tail, bend_strings, bend_path]


@st.composite
def bent_requests(draw):
    _, _, content, request = draw(true_requests())
    content = json.loads(json.dumps(content))
    for bend in draw(st.lists(st.sampled_from(BENDS), min_size=1, max_size=2)):
        request = bend(draw, content, request) if content.get("inputs") else request
    return request


def numbers_of(answer):
    """The table of an answer, from either encoding."""
    size = int(answer.headers.get("inference-header-content-length", len(answer.content)))
    header = json.loads(answer.content[:size])
    (output,) = header["outputs"]
    flat = output["data"] if "data" in output else np.frombuffer(answer.content[size:], DATATYPES[output["datatype"]])
    assert len(flat) == math.prod(output["shape"])
    return header, np.reshape(flat, output["shape"])


def truth(request, client, sessions):
    name, arrays, content, sent = request
    answer = sent.send(client)
    assert answer.status_code == 200, answer.text
    header, table = numbers_of(answer)
    assert (header["id"], header["model_name"]) == (content["id"], name)
    np.testing.assert_allclose(table, sessions[name].run(arrays), rtol=1e-5, atol=1e-6)


def an_answer(request, client):
    answer = request.send(client)
    assert answer.status_code in ALLOWED, answer.text
    if answer.status_code == 200:
        numbers_of(answer)
        return
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"]
    assert not gives_away(answer.text, request.strings()), answer.text


@pytest.fixture(scope="module")
def sessions(artifacts):
    return {name: OnnxSession(artifacts / name, read_manifest(artifacts / name)[0], 1) for name in MODELS}


@bounded(600, share=SMALL)
@given(request=true_requests())
def test_a_valid_request_gets_the_right_answer(request, client, sessions):
    truth(request, client, sessions)


@bounded(1500, share=SMALL)
@given(request=bent_requests())
def test_a_mutated_request_gets_an_answer(request, client):
    an_answer(request, client)


@pytest.mark.fuzz
@pytest.mark.timeout(900)
@bounded(1500)
@given(request=true_requests())
def test_many_valid_requests(request, client, sessions):
    truth(request, client, sessions)


@pytest.mark.fuzz
@pytest.mark.timeout(900)
@bounded(6000)
@given(request=bent_requests())
def test_many_mutated_requests(request, client):
    an_answer(request, client)
