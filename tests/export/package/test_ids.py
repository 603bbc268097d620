"""Inputs of ids, and the dtypes of a background."""

import keras
import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from whyserve.errors import InvalidInput
from whyserve.export.package.ids import token_inputs
from whyserve.export.package.inputs import kind_of
from whyserve.export.package.network import network_of
from whyserve.export.package.trials import try_background

RNG = np.random.default_rng(0)
IDS = RNG.integers(0, 9, (20, 3))
TABLE = torch.rand(9, 2, generator=torch.Generator().manual_seed(0))


class Of(nn.Module):
    """A function of one input, x."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return self.body(x)


def tried(body, background):
    return try_background(network_of(Of(body)), background)


def look_up(x):
    return nn.functional.embedding(x, TABLE).sum((1, 2))


@pytest.mark.parametrize(
    ("body", "background", "dtype"),
    [
        (look_up, IDS, "int64"),
        (look_up, IDS.astype("i4"), "int32"),
        (look_up, IDS.astype("u1"), "int64"),  # torch embeds int32 and int64 only
        (look_up, IDS.astype("f4"), "int64"),
        (lambda x: look_up(x.long()), IDS, "int64"),
        (lambda x: look_up(x.long()), IDS.astype("f4"), "int64"),
        (lambda x: look_up(x.long()), IDS.astype("f8"), "int64"),
        (lambda x: x @ torch.ones(3), IDS, "float32"),
        (lambda x: x.round() @ torch.ones(3), IDS, "float32"),
        (lambda x: (x > 4.5).float().sum(1), IDS.astype("f4"), "float32"),  # a step between integers
        (lambda x: x.float().sum(1), IDS.astype("f4"), "float32"),
        (lambda x: torch.where(x, 1.0, 2.0).sum(1), IDS > 4, "bool"),
        (lambda x: x @ torch.ones(3), IDS > 4, "float32"),
        (look_up, IDS > 4, "int64"),
        (lambda x: x.float().mean(1), IDS > 4, "bool"),
    ],
)
def test_a_background_keeps_its_type_if_the_network_takes_it(body, background, dtype):
    found = tried(body, background)
    assert (found.arrays["x"].dtype, found.whole) == (dtype, {})
    np.testing.assert_array_equal(found.arrays["x"], background)


def test_columns_of_ids_among_numbers_are_whole():
    def both(x):
        return look_up(x[:, :1].long()) + x[:, 1:].sum(1)

    background = np.column_stack([IDS[:, :1], RNG.normal(size=(20, 1)), RNG.integers(18, 80, (20, 1))])
    found = tried(both, background.astype("f4"))
    assert (found.arrays["x"].dtype, found.whole) == ("float32", {"x": [0]})


def test_a_program_with_a_float_input_takes_integers():
    module = Of(lambda x: look_up(x.long()))
    rows = torch.from_numpy(IDS.astype("f4"))
    program = torch.export.export(module, (rows,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    found = try_background(network_of(program), rows.numpy())
    assert found.arrays["x"].dtype == "int64"
    np.testing.assert_allclose(found.network.run(found.arrays), module(rows))
    assert (
        b"_to_copy" in found.network.files({"x": IDS[:3]})["network.py"]
        or b".to." in found.network.files({"x": IDS[:3]})["network.py"]
    )


def test_a_float_input_of_keras_in_front_of_an_embedding_takes_integers():
    given = keras.Input((3,), name="x")
    vectors = keras.layers.Flatten()(keras.layers.Embedding(9, 2)(given))
    model = keras.Model(given, keras.layers.Dense(1)(vectors))
    network = network_of(model)
    found = try_background(network, IDS.astype("f4"))
    assert (found.network.dtypes, found.arrays["x"].dtype.name) == (("int64",), "int64")
    np.testing.assert_allclose(found.network.run(found.arrays), network.run({"x": IDS.astype("f4")}), rtol=1e-6)
    assert token_inputs(found.network, found.arrays, {}) == {"x": "tokens"}
    assert model.inputs[0].dtype == "float32"  # the caller's model is not changed


def test_ids_of_one_table_are_tokens_unless_they_have_names():
    found = tried(look_up, IDS)
    assert token_inputs(found.network, found.arrays, {}) == {"x": "tokens"}
    assert token_inputs(found.network, found.arrays, {"x": [{"name": "a"}]}) == {}
    numbers = tried(lambda x: x.float().sum(1), IDS)
    assert token_inputs(numbers.network, numbers.arrays, {}) == {}
    tables = tried(lambda x: look_up(x[:, :1]) + TABLE[:, 0].repeat(2)[x[:, 1]], IDS)
    assert token_inputs(tables.network, tables.arrays, {}) == {}


def test_columns_of_booleans_are_named_as_such():
    frame = pd.DataFrame({"age": RNG.normal(size=20), "member": IDS[:, 0] > 4, "new": pd.array(IDS[:, 1] > 4)})
    found = tried(lambda x: x @ torch.ones(3), frame)
    assert found.columns["x"] == [
        {"name": "age"},
        {"name": "member", "boolean": True},
        {"name": "new", "boolean": True},
    ]
    assert set(found.arrays["x"][:, 2]) == {0, 1}


def test_a_failure_names_the_type_that_was_given_and_the_cause():
    with pytest.raises(InvalidInput) as caught:
        tried(look_up, IDS + 5)
    assert 'shape (20, 3) of int64 for input "x"' in caught.value.message
    assert "index out of range in self" in caught.value.message


def test_booleans_are_no_image():
    assert kind_of(np.zeros((2, 4, 4, 1), bool)) == "tensor"
    assert kind_of(np.zeros((2, 4, 4, 1))) == "image"
