"""Encoding and decoding keep every bit, in both encodings and all datatypes."""

from typing import Any

import hypothesis.extra.numpy as arrays
import hypothesis.strategies as st
import numpy as np
import orjson
import pytest
from hypothesis import given
from tritonclient.utils import deserialize_bytes_tensor, serialize_byte_tensor, triton_to_np_dtype

from whyserve.api.oip.encoding import DATATYPES, from_bytes, from_json, name_of, to_bytes, to_json
from whyserve.errors import InvalidInput

NUMBERS = [name for name in DATATYPES if name != "BYTES"]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)


def tensors(datatype, **options):
    return arrays.arrays(DATATYPES[datatype], SHAPES, **options)


def raw(content):
    return memoryview(content)


def test_datatype_names_match_the_clients():
    for name, dtype in DATATYPES.items():
        assert triton_to_np_dtype(name) == dtype
        assert name_of(dtype) == name
    assert name_of("float32") == "FP32"


@pytest.mark.parametrize("datatype", NUMBERS)
@given(data=st.data())
def test_bytes(datatype, data):
    array = data.draw(tensors(datatype))
    written = to_bytes(array)
    assert len(written) == array.size * array.itemsize
    read = from_bytes(raw(written), datatype, array.shape)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert read.tobytes() == array.tobytes()
    assert to_bytes(array.astype(array.dtype.newbyteorder(">"))) == written


@pytest.mark.parametrize("datatype", NUMBERS)
@given(data=st.data())
def test_json(datatype, data):
    finite: dict[str, Any] = {"elements": {"allow_nan": False, "allow_infinity": False}} if "FP" in datatype else {}
    array = data.draw(tensors(datatype, **finite))
    written = orjson.loads(orjson.dumps(to_json(array), option=orjson.OPT_SERIALIZE_NUMPY))
    for content in (written, array.tolist() if array.ndim else [array.item()]):
        read = from_json(content, datatype, array.shape)
        assert (read.dtype, read.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(read, array)


@given(arrays.arrays(object, SHAPES, elements=st.binary(max_size=20)))
def test_strings_are_encoded_like_tritonclient(array):
    written = to_bytes(array)
    if array.size:
        assert written == serialize_byte_tensor(array).item()
        np.testing.assert_array_equal(deserialize_bytes_tensor(written), array.reshape(-1))
    np.testing.assert_array_equal(from_bytes(raw(written), "BYTES", array.shape), array)


@given(st.binary(max_size=60), st.sampled_from(list(DATATYPES)), st.lists(st.integers(0, 2**31 - 1), max_size=6))
def test_any_bytes_are_decoded_or_refused(content, datatype, shape):
    """Memory is limited by the bytes that were sent, for any shape."""
    try:
        array = from_bytes(raw(content), datatype, shape)
    except InvalidInput:
        return
    assert array.shape == tuple(shape)
    assert to_bytes(array) == content
