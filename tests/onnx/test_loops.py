"""A Loop that never ends is stopped; one that ends is served, and never on the event loop."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from whyserve.errors import ModelFault
from whyserve.onnx import session
from whyserve.onnx.graph_check import check_graph
from whyserve.onnx.session import LoopSession, open_session


def looping(trips: str, condition: str = "") -> bytes:
    """x, after a Loop with this trip count and condition ("" is none; "yes" is true for ever)."""

    def info(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    body = helper.make_graph(
        [helper.make_node("Identity", ["on"], ["still_on"]), helper.make_node("Identity", ["v"], ["w"])], "body",
        [info("i", TensorProto.INT64, []), info("on", TensorProto.BOOL, []), info("v", TensorProto.FLOAT, None)],
        [info("still_on", TensorProto.BOOL, []), info("w", TensorProto.FLOAT, None)],
    )  # fmt: skip
    constants = [
        helper.make_tensor("few", TensorProto.INT64, [], [3]),
        helper.make_tensor("many", TensorProto.INT64, [], [2**62]),
        helper.make_tensor("yes", TensorProto.BOOL, [], [1]),
    ]
    graph = helper.make_graph(
        [helper.make_node("Loop", [trips, condition, "x"], ["y"], body=body)], "g",
        [info("x", TensorProto.FLOAT, ["rows", 2])], [info("y", TensorProto.FLOAT, ["rows", 2])],
        initializer=constants,
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(made.SerializeToString())


ROWS = {"x": np.ones((2, 2), np.float32)}


@pytest.mark.parametrize("trips", ["", "many"])
def test_a_loop_without_end_is_stopped(trips, monkeypatch):
    monkeypatch.setattr(session, "DEADLINE_S", 0.3)
    opened = open_session(looping(trips, "yes"), "m/model.onnx", 1)
    with pytest.raises(ModelFault, match=r"^m/model\.onnx: one run took more than 0 s and was stopped"):
        opened.run(["y"], ROWS)


def test_a_loop_that_ends_gives_its_result():
    opened = open_session(looping("few", "yes"), "m/model.onnx", 1)
    assert isinstance(opened, LoopSession)
    for _ in range(3):
        assert (opened.run(["y"], ROWS)[0] == ROWS["x"]).all()


def test_only_a_graph_with_a_loop_is_watched():
    assert check_graph(looping("few"), "m/model.onnx")
    read = onnx.ModelProto.FromString(looping("few"))
    read.graph.node[0].CopyFrom(helper.make_node("Identity", ["x"], ["y"]))
    assert not check_graph(read.SerializeToString(), "m/model.onnx")
    assert not isinstance(open_session(read.SerializeToString(), "m/model.onnx", 1), LoopSession)
