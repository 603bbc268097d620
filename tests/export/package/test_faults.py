"""Wrong calls of `package`: each gets one line that says where the fault is and what to do, before any export."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pandas as pd
import pyarrow
import pytest
import scipy.sparse
import torch
from torch import nn

from whyserve.errors import WhyserveError
from whyserve.export.package.background import read_background
from whyserve.export.package.given import check_arguments, plain_background
from whyserve.export.package.package import package

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(30, 4)).astype(np.float32)
FRAME = pd.DataFrame(ROWS, columns=list("abcd"))
IMAGES = RNG.normal(size=(10, 8, 8, 3)).astype(np.float32)


class Net(nn.Module):
    def __init__(self, body=lambda layer, x: layer(x)):
        super().__init__()
        self.body, self.layer = body, nn.Linear(4, 2)

    def forward(self, x):
        return self.body(self.layer, x)


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 2), nn.Linear(3, 2)

    def forward(self, left, right):
        return self.a(left) + self.b(right)


class Eye(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen, self.exit = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, image):
        return self.exit(self.seen(image).mean((2, 3)))


class Words(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.exit = nn.Embedding(10, 4), nn.Linear(4, 2)

    def forward(self, ids):
        return self.exit(self.table(ids).mean(1))


class Series(nn.Module):
    def __init__(self):
        super().__init__()
        self.cells, self.exit = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

    def forward(self, x):
        return self.exit(self.cells(x)[0][:, -1])


class Nothing(nn.Module):
    def forward(self):
        return torch.zeros(3)


def branch(layer, x):
    if x.sum() > 0:
        return layer(x)
    return layer(-x)


def dense():
    return keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2)])


def net(body: Callable[[Any, Any], Any]) -> Callable[[], nn.Module]:
    return lambda: Net(body)


VALUES = "its code depends on the values of the rows"
COUNT = "its code depends on the number of rows"
REAL = "give rows of real data as an array, a DataFrame, or a dict of them by input name"
SHAPE = "give the background in the shape that the network was trained with"
LEVELS = pd.MultiIndex.from_product([["a", "b"], ["c", "d"]])
# By name: the network, the changed arguments, what is wrong and where, and what to do.
CALLS: dict[str, tuple[Callable[[], Any], dict[str, Any], str, str]] = {
    # -- the network
    "a text": (lambda: "net", {}, "an object of type str cannot be packaged", "give a torch nn.Module"),
    "a class": (lambda: Net, {}, "an object of type type cannot be packaged", "give a torch nn.Module"),
    "weights": (lambda: Net().state_dict(), {}, "an object of type OrderedDict", "give a torch nn.Module"),
    "no input": (Nothing, {}, "takes no inputs", "give it one parameter for each input"),
    "Keras without inputs": (
        lambda: keras.Sequential([keras.layers.Dense(2)]), {}, "the Keras model has no inputs", "keras.Input(shape",
    ),
    "an error": (net(lambda layer, x: 1 / 0), {}, "ZeroDivisionError", "of test_faults.py), correct the network"),
    "a key": (net(lambda layer, x: {"b": x}["a"]), {}, "KeyError: 'a'; at `", "correct the network or the background"),
    "a device": (net(lambda layer, x: layer(x.cuda())), {}, "the network chooses a device", "x.device"),
    "whole outputs": (net(lambda layer, x: layer(x).argmax(1)), {}, "the network returns int64", "before argmax"),
    "bool outputs": (net(lambda layer, x: layer(x) > 0), {}, "the network returns bool", "a comparison or a cast"),
    "one output": (net(lambda layer, x: layer(x).mean()), {}, "returns shape () for 30", "must be the rows"),
    "no rows": (net(lambda layer, x: layer(x)[:1]), {}, "returns shape (1, 2) for 30 rows", "(rows, outputs)"),
    "squeezed": (net(lambda layer, x: layer(x)[:, :1].squeeze()), {}, "not one row alone", "shape () for 1 rows"),
    "a fixed view": (net(lambda layer, x: layer(x).view(30, 2)), {}, "30 rows but not one row alone", "x.shape[0]"),
    "not finite": (net(lambda layer, x: layer(x) / 0), {}, "not finite on row 0", "it must be finite on every row"),
    "a branch on values": (net(branch), {}, f"of test_faults.py), {VALUES}", "torch.where"),
    "a Python number": (net(lambda layer, x: layer(x) * float(x[0, 0].item() > -99)), {}, VALUES, "torch.where"),
    "a branch on rows": (net(lambda layer, x: layer(x) if x.shape[0] > 4 else layer(x) + 0), {}, COUNT, "x.shape[0]"),
    "a loop": (net(lambda layer, x: torch.stack([layer(row) for row in x])), {}, COUNT, "over all rows at once"),
    "NumPy": (net(lambda layer, x: torch.tensor(x.numpy()[:, :2])), {}, "leaves torch", "operations of torch"),
    "vmap": (net(lambda layer, x: torch.vmap(layer)(x)), {}, "the network uses torch.vmap", "operations of torch"),
    "func.grad": (
        net(lambda layer, x: torch.vmap(torch.func.grad(lambda row: layer(row).sum()))(x)), {"names": list("abcd")},
        "it uses torch.vmap or torch.func", "operations over all rows",
    ),
    # -- the background
    "columns": (
        Net, {"background": ROWS[:, :3]},
        '(with shape (30, 3) of float32 for input "x"), in layer "layer: Linear(in_features=4, out_features=2', SHAPE,
    ),
    "channels": (Eye, {"background": IMAGES}, 'in layer "seen: Conv2d(3, 4', "array.transpose(0, 3, 1, 2)"),
    "one image": (Eye, {"background": IMAGES[0].T}, '(with shape (3, 8, 8) of float32 for input "image")', SHAPE),
    "steps": (Series, {"background": np.ones((9, 5, 3))}, 'in layer "cells: LSTM(2, 3', SHAPE),
    "real ids": (Words, {"background": ROWS}, 'in layer "table: Embedding(10, 4)', "give integers (dtype int64)"),
    "ids": (Words, {"background": np.full((9, 5), 50)}, "an id is beyond the last entry", "from 0 to its size minus 1"),
    "Keras columns": (dense, {"background": ROWS[:, :3]}, 'input "x" has shape (3,)', "the network takes (4,)"),
    "a number": (Net, {"background": 1.0}, "the background is of type float", REAL),
    "none": (Net, {"background": None}, "the background is of type NoneType", REAL),
    "none for Keras": (dense, {"background": None}, "the background is of type NoneType", REAL),
    "a path": (Net, {"background": "rows.csv"}, "the background is of type str", REAL),
    "a generator": (Net, {"background": (row for row in ROWS)}, "the background is of type generator", REAL),
    "a loader": (Net, {"background": torch.utils.data.DataLoader(FRAME)}, "of type DataLoader", REAL),
    "a tuple": (Net, {"background": (ROWS, ROWS)}, "the background is a tuple of arrays", "give"),
    "dicts": (Net, {"background": FRAME.to_dict("records")}, "the background is a list of dicts", "pandas.Data"),
    "ragged": (Net, {"background": [[1.0], [1.0, 2.0]]}, "rows of different lengths", "the same length"),
    "one row": (Net, {"background": np.float64(3)}, "shape ()", "numbers of shape (rows, …) are needed"),
    "empty": (Net, {"background": ROWS[:0]}, "the background has no rows", "give rows of real data"),
    "an empty dict": (Net, {"background": {}}, "the background is an empty dict", "for each input"),
    "no columns": (Net, {"background": FRAME.iloc[:, :0]}, "a table without columns", "one column for each feature"),
    "levels": (Net, {"background": pd.DataFrame(ROWS, columns=LEVELS)}, "columns of several levels", '"_".join'),
    "twice": (Net, {"background": pd.concat([FRAME[["a", "b"]]] * 2, axis=1)}, "duplicate columns: a, b", "keep each"),
    "twice in a dict": (
        Two, {"background": {"left": pd.concat([FRAME[["a", "b"]]] * 2, axis=1), "right": FRAME[["a", "b", "c"]]}},
        "duplicate columns: a, b", "keep each column once",
    ),
    "texts in a dict": (
        Two, {"background": {"left": FRAME.assign(a="x"), "right": FRAME[["a", "b", "c"]]}},
        "not known for the columns a", 'add categories={"a": ["x", …]}',
    ),
    "texts in an array": (Net, {"background": [["x"] * 4]}, 'of input "x" has dtype <U1', "the argument tokenizer"),
    "objects": (Net, {"background": np.array([[1, None]], object)}, 'input "x" has dtype object', "numbers of shape"),
    "lists in a column": (Net, {"background": FRAME.assign(a=[[1]] * 30)}, "numbers nor texts: a", "by columns"),
    "time spans": (Net, {"background": FRAME.assign(b=pd.Timedelta(1, "s"))}, "nor texts: b", "a time span by seconds"),
    "dates": (Net, {"background": FRAME.assign(a=pd.Timestamp(0), b=pd.Timestamp(0))}, "dates: a, b", "replace"),
    "gaps": (Net, {"background": pd.DataFrame({"a": [1, None], "b": [None, 1]})}, "a (first in row 1), b", "fill them"),
    "another input": (Net, {"background": {"y": ROWS}}, 'input "x" is missing', "the inputs are x"),
    "one for two": (Two, {"background": ROWS}, "the network has 2 inputs (left, right)", "as a dict by input name"),
    "one of two": (Two, {"background": {"left": ROWS, "right": None}}, 'background of input "right" is of type', REAL),
    # -- the other arguments
    "labels as a number": (Net, {"labels": 2}, "labels must be a list", 'such as ["no", "yes"]'),
    "labels as a text": (Net, {"labels": "ab"}, "labels must be a list", 'such as ["no", "yes"]'),
    "no label": (Net, {"labels": None}, "labels must be a list", 'such as ["no", "yes"]'),
    "an empty label": (Net, {"labels": ["a", ""]}, "labels must be a list", "one name for each label"),
    "labels and names": (Net, {"labels": ["a", "b"], "names": ["c", "d"]}, "labels are of a", "one of the two"),
    "a unit": (Net, {"unit": 3}, "unit must be a text", 'such as "kg"'),
    "features": (Net, {"features": 4}, "features must be a list of column names", "by input name"),
    "features of another input": (Net, {"features": {"y": list("abcd")}}, 'features names "y"', "the inputs are x"),
    "features in another order": (
        Net, {"background": FRAME, "features": list("bacd")}, 'features of input "x" are b, a, c, d', "leave features",
    ),
    "units": (Net, {"units": ["g"]}, "units must be a dict by column name", 'such as {"mass": "g"}'),
    "unknown units": (Net, {"units": {"m": "g", "n": "g"}}, 'units names "m, n"', "the features are x_0"),
    "groups": (Net, {"groups": [["x_0", "x_1"]]}, "groups must be a dict of lists", 'such as {"size"'),
    "a group as a text": (Net, {"groups": {"g": "x_0"}}, "groups must be a dict of lists", 'such as {"size"'),
    "groups of an image": (
        Eye, {"background": IMAGES.transpose(0, 3, 1, 2), "groups": {"g": ["image"]}}, 'groups names "image"', "leave",
    ),
    "categories": (Net, {"categories": ["x"]}, "categories must be a dict of lists", "by column name"),
    "categories as a text": (Net, {"categories": {"a": "xy"}}, "categories must be a dict of lists", "by column name"),
    "kinds": (Net, {"kinds": "image"}, "kinds must be a dict by input name", 'such as {"x": "image"}'),
    "kinds of another input": (Net, {"kinds": {"y": "image"}}, 'kinds names "y"', "the inputs are x"),
    "an unknown kind": (Net, {"kinds": {"x": "picture"}}, "inputs.0.kind", "'tabular', 'image'"),
    "ranges": (Net, {"ranges": (0, 1)}, "ranges must be a dict by input name", 'such as {"image": (0, 1)}'),
    "ranges of a table": (Net, {"ranges": {"x": (0, 1)}}, 'ranges names "x"', "no image input: leave ranges out"),
    "a tokenizer": (Words, {"background": ["a"], "tokenizer": 3}, "int is not a tokenizer", "the path of"),
    "a version": (Net, {"version": "1.2"}, "version must be", "a whole number from 1"),
    "a description": (Net, {"description": None}, "description must be", "a text"),
    "a budget": (Net, {"budget_ms": "20"}, "budget_ms must be", "a number of milliseconds above 0"),
    "expected labels": (Net, {"expected": ["no"] * 30}, "expected must be the scores", "numbers, not labels"),
    "expected fails": (Net, {"expected": lambda rows: 1 / 0}, "expected is a function that fails", "ZeroDivisionError"),
    "expected rows": (Net, {"expected": np.zeros((3, 2))}, "expected has shape (3, 2)", "30 or more rows"),
}  # fmt: skip


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_call_gets_one_line_with_the_place_and_the_way_out(call, tmp_path):
    build, changes, place, way_out = CALLS[call]
    given = {"background": ROWS, **({} if "labels" in changes else {"names": ["low", "high"]}), **changes}
    with pytest.raises(WhyserveError) as caught:
        package(build(), tmp_path / "mine", artifacts=tmp_path / "artifacts", **given)
    message = caught.value.message
    assert place in message
    assert way_out in message[message.index(place) :]
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_a_file_or_nothing_is_refused(tmp_path):
    (tmp_path / "mine").write_text("")
    for folder, words in ((tmp_path / "mine", "mine is a file"), (None, "folder must be a path")):
        with pytest.raises(WhyserveError, match=words):
            package(Net(), folder, background=ROWS, names=["low", "high"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "columns",
    [FRAME.columns, np.array(["a", "b"]), ("a", "b"), {"a": 1, "b": 2}.keys(), pd.Series(["a", "b"]), range(2)],
)
def test_any_list_of_names_is_taken(columns):
    check_arguments({"features": columns, "labels": columns, "groups": {"ab": columns}})


@pytest.mark.parametrize(
    "given",
    [
        FRAME, pyarrow.table(FRAME), FRAME.astype(object), FRAME.astype("Float64"), FRAME.set_axis(range(4), axis=1),
        ROWS.tolist(), torch.tensor(ROWS, requires_grad=True), scipy.sparse.csr_matrix(ROWS), list(torch.tensor(ROWS)),
    ],
)  # fmt: skip
def test_other_tables_and_tensors_are_read(given):
    arrays, _ = read_background(given, ["x"], {})
    np.testing.assert_allclose(arrays["x"].astype(float), ROWS, rtol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_tensor_of_half_precision_is_read(dtype):
    """NumPy has no bfloat16."""
    read = plain_background(torch.ones(3, 4, dtype=dtype))
    assert (read.dtype, read.shape) == (np.float32, (3, 4))
