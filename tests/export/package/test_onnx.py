"""ONNX models as converters write them: what is taken, with which edits, and what is refused with which way out."""

import re

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

from whyserve.errors import InvalidInput, ModelFault, WhyserveError
from whyserve.export.package.network import network_of
from whyserve.export.package.output_choice import OutputChoice
from whyserve.export.package.outputs import stated_labels
from whyserve.export.package.trials import try_background

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(40, 3)).astype(np.float32)
TABLE = pd.DataFrame(
    {
        "plan": list("abca") * 10,
        "land": ["FR", "DE"] * 20,
        "age (y)": ROWS[:, 0].astype(np.float64),
        "visits": range(40),
    }
)
CLASSES = np.where(np.arange(40) % 3 == 0, "yes", "no")


def value(name, shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model(nodes, inputs, outputs, initializers=(), **more):
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializer=initializers)
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **more)


def relu(x="x", y="y", shape=("rows", 3), kind=TensorProto.FLOAT, **more):
    return model([helper.make_node("Relu", [x], [y])], [value(x, shape, kind)], [value(y, shape, kind)], **more)


def encoded(encoder, alone=False):
    encoders = [(encoder, ["plan"]), (clone(encoder), ["land"])] if alone else [(encoder, ["plan", "land"])]
    columns = make_column_transformer(*encoders, ("passthrough", ["age (y)", "visits"]))
    return make_pipeline(columns, LogisticRegression(max_iter=1000)).fit(TABLE, CLASSES)


def test_a_file_without_need_of_an_edit_keeps_its_bytes(tmp_path):
    content = to_onnx(LinearRegression().fit(ROWS, ROWS[:, 0]), ROWS[:1]).SerializeToString()
    (tmp_path / "net.onnx").write_bytes(content)
    for given in (content, tmp_path / "net.onnx", str(tmp_path / "net.onnx"), onnx.load_model_from_string(content)):
        assert network_of(given).files({}) == {"model.onnx": content}


@pytest.mark.parametrize("encoder", [OneHotEncoder(), OrdinalEncoder()])
@pytest.mark.parametrize("alone", [False, True])  # a OneHotEncoder of one column reads it through a Gather
def test_a_pipeline_takes_a_table_with_text_as_it_was_trained_on(encoder, alone):
    pipeline = encoded(encoder, alone=alone)
    given = to_onnx(pipeline, TABLE[:1])
    assert any(node.op_type == "Gather" for node in given.graph.node) == (alone and isinstance(encoder, OneHotEncoder))
    before = given.SerializeToString()
    network = network_of(given)
    tried = try_background(network, TABLE)
    np.testing.assert_allclose(tried.table, pipeline.predict_proba(TABLE), atol=1e-6)
    assert tried.columns["plan"] == [{"name": "plan", "categories": ["a", "b", "c"]}]
    assert tried.columns["age__y_"] == [{"name": "age (y)"}]
    assert dict(zip(network.names, network.dtypes, strict=True)) == {
        "plan": "int64", "land": "int64", "age__y_": "float64", "visits": "int64",
    }  # fmt: skip
    assert stated_labels(network, 2, (), ()) == ["no", "yes"]
    assert given.SerializeToString() == before


def test_categories_that_the_background_lacks_are_known_from_the_model():
    tried = try_background(network_of(to_onnx(encoded(OneHotEncoder()), TABLE[:1])), TABLE[TABLE.plan != "b"])
    assert tried.columns["plan"][0]["categories"] == ["a", "b", "c"]


def test_categories_in_another_order_than_the_model_s_are_refused():
    network = network_of(to_onnx(encoded(OneHotEncoder()), TABLE[:1]))
    try_background(network, TABLE, categories={"plan": ["a", "b", "c"]})
    with pytest.raises(InvalidInput, match='categories of "plan" differ from those in the model, which are a, b, c;'):
        try_background(network, TABLE, categories={"plan": ["b", "a", "c"]})


def test_columns_in_another_order_are_found_by_name_and_others_are_refused():
    pipeline = encoded(OneHotEncoder())
    network = network_of(to_onnx(pipeline, TABLE[:1]))
    turned = try_background(network, TABLE[["visits", "age (y)", "land", "plan"]])
    np.testing.assert_allclose(turned.table, pipeline.predict_proba(TABLE), atol=1e-6)
    with pytest.raises(InvalidInput, match="columns target of the background are no inputs of the network; drop them"):
        try_background(network, TABLE.assign(target=1))


def test_labels_in_another_order_than_the_model_s_are_refused():
    network = network_of(to_onnx(encoded(OneHotEncoder()), TABLE[:1]))
    assert stated_labels(network, 2, ["stays", "leaves"], ()) == ["stays", "leaves"]
    with pytest.raises(ModelFault, match="the order of the labels in the model is no, yes"):
        stated_labels(network, 2, ["yes", "no"], ())


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int32", "uint8"])
def test_an_input_keeps_its_type(dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    nodes = [helper.make_node("Cast", ["x"], ["z"], to=TensorProto.DOUBLE), helper.make_node("Sin", ["z"], ["y"])]
    network = network_of(model(nodes, [value("x", ["n", 3], kind)], [value("y", ["n", 3], TensorProto.DOUBLE)]))
    tried = try_background(network, np.arange(12).reshape(4, 3).astype(dtype))
    assert (str(tried.arrays["x"].dtype), str(tried.table.dtype)) == (dtype, "float64")
    np.testing.assert_allclose(tried.table, np.sin(np.arange(12).reshape(4, 3)))


def test_names_that_are_no_identifiers_are_replaced():
    network = network_of(relu("serving_default:0", "Identity:0"))
    assert (network.names, network.tensor) == (("serving_default_0",), "Identity_0")
    np.testing.assert_array_equal(network.run({"serving_default_0": ROWS}), np.maximum(ROWS, 0))


def test_an_input_of_one_dimension_becomes_a_column_and_a_free_size_is_the_background_s():
    nodes = [helper.make_node("Unsqueeze", ["x", "one"], ["z"]), helper.make_node("Add", ["z", "w"], ["y"])]
    one = numpy_helper.from_array(np.array([1]), "one")
    network = network_of(
        model(nodes, [value("x", ["n"]), value("w", ["n", "k"])], [value("y", ["n", "k"])], initializers=[one])
    )
    assert network.shapes == ((1,), (None,))
    tried = try_background(network, {"x": ROWS[:, :1], "w": ROWS})
    np.testing.assert_array_equal(tried.table, ROWS[:, :1] + ROWS)


def test_a_name_inside_a_branch_is_replaced_too():
    branch = helper.make_graph([helper.make_node("Relu", ["x:0"], ["r"])], "then", [], [value("r", ["n", 3])])
    yes = numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    network = network_of(model([node], [value("x:0", ["n", 3])], [value("y", ["n", 3])], initializers=[yes]))
    np.testing.assert_array_equal(network.run({"x_0": ROWS}), np.maximum(ROWS, 0))


def test_functions_are_replaced_by_their_operators():
    opsets = [helper.make_opsetid("", 18)]
    function = helper.make_function("mine", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], opsets)
    node = helper.make_node("F", ["x"], ["y"], domain="mine")
    network = network_of(model([node], [value("x", ["n", 3])], [value("y", ["n", 3])], functions=[function]))
    np.testing.assert_array_equal(network.run({"x": ROWS}), np.maximum(ROWS, 0))


def test_weights_beside_the_file_are_put_into_it(tmp_path):
    weights = numpy_helper.from_array(np.eye(3, dtype=np.float32) * 2, "w")
    made = model(
        [helper.make_node("MatMul", ["x", "w"], ["y"])], [value("x", ["n", 3])], [value("y", ["n", 3])], [weights]
    )
    onnx.save(made, tmp_path / "net.onnx", save_as_external_data=True, location="net.data", size_threshold=0)
    assert (tmp_path / "net.data").exists()
    np.testing.assert_array_equal(network_of(tmp_path / "net.onnx").run({"x": ROWS}), 2 * ROWS)
    with pytest.raises(ModelFault, match="weights are in another file"):
        network_of((tmp_path / "net.onnx").read_bytes())


def two_outputs():
    nodes = [helper.make_node("Relu", ["x"], ["mean"]), helper.make_node("Neg", ["x"], ["spread"])]
    return model(nodes, [value("x", ["n", 3])], [value("mean", ["n", 3]), value("spread", ["n", 3])])


def test_of_several_outputs_one_is_chosen_by_name_or_number():
    network = network_of(two_outputs())
    with pytest.raises(InvalidInput, match=r"are mean \(float32\), spread \(float32\); choose one of them with output"):
        network.run({"x": ROWS})
    for chosen in ("spread", 1):
        np.testing.assert_array_equal(network.with_output(OutputChoice(chosen)).run({"x": ROWS}), -ROWS)
    with pytest.raises(InvalidInput, match="choose one of them"):
        network.with_output(OutputChoice("median"))


def text_of_two_columns():
    table = TABLE[["plan", "land"]]
    from skl2onnx.common.data_types import StringTensorType

    encoder = OneHotEncoder().fit(table.to_numpy())
    return to_onnx(encoder, initial_types=[("words", StringTensorType([None, 2]))])


def label_only():
    nodes = [helper.make_node("ArgMax", ["x"], ["label"], axis=1)]
    return model(nodes, [value("x", ["n", 3])], [value("label", ["n", 1], TensorProto.INT64)])


REFUSED = {
    "fixed rows": (
        lambda: relu(shape=(1, 3)),
        'input "x" has a fixed number of rows (1); convert the model again',
    ),
    "float16": (lambda: relu(kind=TensorProto.FLOAT16), 'input "x" takes float16; convert the model with an input of'),
    "text of two columns": (text_of_two_columns, 'input "words" takes text, and its categories are not known; convert'),
    "a foreign operator": (
        lambda: model(
            [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], [value("x", ["n", 3])], [value("y", [])]
        ),
        "operator com.microsoft.Gelu is not part of ONNX",
    ),
    "no scores": (label_only, "the outputs of the ONNX model are label (int64); an output of float32 or float64 is"),
    "several targets": (
        lambda: to_onnx(RandomForestClassifier(3).fit(ROWS, np.stack([CLASSES == "yes"] * 2, 1).astype(int)), ROWS[:1]),
        "has shape (2, 40, 2) for 40 rows; (rows, outputs) is needed: convert a model with several targets as one",
    ),
    "not ONNX": (lambda: b"PK\x03\x04", "not an ONNX file"),
    "no file": (lambda: "nowhere/net.onnx", "nowhere/net.onnx: cannot be read: No such file or directory"),
    "a pipeline": (LogisticRegression, "or an ONNX model, which skl2onnx.to_onnx(model, rows[:1]) makes of it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_served_is_refused_with_a_way_out(case):
    make, words = REFUSED[case]
    with pytest.raises(WhyserveError, match=re.escape(words)):
        try_background(network_of(make()), ROWS)


def test_a_forest_of_ai_onnx_ml_alone_can_be_edited():
    import onnxmltools
    import xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    forest = xgboost.XGBRegressor(n_estimators=3).fit(ROWS, ROWS[:, 0])
    made = onnxmltools.convert_xgboost(forest, initial_types=[("rows", FloatTensorType([None, 3]))])
    assert {each.domain for each in made.opset_import} == {"ai.onnx.ml"}
    made.graph.output[0].name = made.graph.node[-1].output[0] = "value:0"
    network = network_of(made)
    assert network.tensor == "value_0"
    np.testing.assert_allclose(network.run({network.names[0]: ROWS})[:, 0], forest.predict(ROWS), atol=1e-6)
