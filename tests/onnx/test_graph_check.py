"""ONNX files are checked before ONNX Runtime parses them: at export, start and load."""

import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from tests.conftest import Running
from whyserve.errors import ModelFault
from whyserve.model.manifest import MANIFEST_FILE, dump_manifest, read_manifest, sha256
from whyserve.model.spec import ONNX_FILE
from whyserve.onnx import graph_check as graph
from whyserve.onnx.graph_check import check_graph
from whyserve.onnx.runtime import onnxruntime as ort
from whyserve.predict.predictor import load_predictor

PLACE = "wine/model.onnx"


def outside(tensor: TensorProto) -> TensorProto:
    """The tensor, with its data in another file."""
    onnx.external_data_helper.set_external_data(tensor, "../../etc/passwd")
    tensor.ClearField("raw_data")
    return tensor


def weights(name: str = "w") -> TensorProto:
    return onnx.numpy_helper.from_array(np.ones((2, 2), np.float32), name)


def model(nodes=(), initializers=(), **more) -> onnx.ModelProto:
    """x (rows, 2) → the given nodes → y. Without nodes, y = x."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", 2]) for name in ("x", "y")]
    nodes = nodes or [helper.make_node("Identity", ["x"], ["y"])]
    made = helper.make_graph(nodes, "g", ends[:1], ends[1:], initializer=initializers)
    domains = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(made, opset_imports=domains, ir_version=10, **more)


def inside(node: onnx.NodeProto) -> onnx.ModelProto:
    """A node inside two nested branches of If."""
    for depth in range(2):
        then = helper.make_graph(
            [node], f"then{depth}", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
        )
        node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=then)
    return model([node])


def sparse() -> onnx.ModelProto:
    made = model()
    values = onnx.numpy_helper.from_array(np.ones(1, np.float32), "s")
    places = onnx.numpy_helper.from_array(np.zeros(1, np.int64), "places")
    made.graph.sparse_initializer.append(helper.make_sparse_tensor(outside(values), places, [4]))
    return made


def trained() -> onnx.ModelProto:
    made = model()
    made.training_info.add().algorithm.CopyFrom(model([FOREIGN]).graph)
    return made


FOREIGN = helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")
CONSTANT = helper.make_node("Constant", [], ["y"], value=outside(weights()))
FUNCTION = helper.make_function(
    "mine", "F", ["x"], ["y"], [helper.make_node("Identity", ["x"], ["y"])], [helper.make_opsetid("", 18)]
)

REFUSED: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "weights in a file": (lambda: model(initializers=[outside(weights())]), "weights are in another file"),
    "a constant in a file": (lambda: model([CONSTANT]), "weights are in another file"),
    "a constant in a file, in a branch": (lambda: inside(CONSTANT), "weights are in another file"),
    "sparse weights in a file": (sparse, "weights are in another file"),
    "a foreign operator": (lambda: model([FOREIGN]), "operator com.microsoft.Gelu is not part of ONNX"),
    "a foreign operator in a branch": (lambda: inside(FOREIGN), "operator com.microsoft.Gelu is not part of ONNX"),
    "a foreign operator to train with": (trained, "operator com.microsoft.Gelu is not part of ONNX"),
    "a function": (lambda: model(functions=[FUNCTION]), "contains functions"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_graphs_that_are_not_self_contained_are_refused(case):
    make, words = REFUSED[case]
    with pytest.raises(ModelFault) as fault:
        check_graph(make().SerializeToString(), PLACE)
    assert fault.value.message.startswith(f"{PLACE}: ")
    assert words in fault.value.message


def test_a_self_contained_graph_is_accepted():
    check_graph(model([helper.make_node("MatMul", ["x", "w"], ["y"])], [weights()]).SerializeToString(), PLACE)
    check_graph(inside(helper.make_node("Identity", ["x"], ["y"], domain="ai.onnx")).SerializeToString(), PLACE)


def test_operators_of_ai_onnx_ml_are_accepted_where_they_are_allowed():
    content = model([helper.make_node("Scaler", ["x"], ["y"], domain="ai.onnx.ml")]).SerializeToString()
    check_graph(content, PLACE, ml=True)
    with pytest.raises(ModelFault, match=r"operator ai\.onnx\.ml\.Scaler is not part of ONNX"):
        check_graph(content, PLACE)
    with pytest.raises(ModelFault, match="operator com"):
        check_graph(model([FOREIGN]).SerializeToString(), PLACE, ml=True)


def test_names_in_messages_are_short_and_printable():
    node = helper.make_node("\x1b[2J", ["x"], ["y"], domain="d" * 1000)
    with pytest.raises(ModelFault) as fault:
        check_graph(model([node]).SerializeToString(), PLACE)
    assert fault.value.message == f"{PLACE}: operator {'d' * 80}.?[2J is not part of ONNX; use only ONNX operators"


def test_all_message_types_of_the_format_are_visited():
    """Compared with the onnx library, so that additions to the format are noticed."""
    wanted, all_of = {"NodeProto", "TensorProto", "FunctionProto"}, {}
    waiting = [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in all_of:
            all_of[message.name] = {field.number: field.message_type for field in message.fields if field.message_type}
            waiting += all_of[message.name].values()
    while more := {n for n, held in all_of.items() if any(m.name in wanted for m in held.values())} - wanted:
        wanted |= more
    # A file with functions is refused before their content is visited.
    expected = {
        name: {number: message.name for number, message in held.items() if message.name in wanted}
        for name, held in all_of.items()
        if name in wanted - {"FunctionProto"}
    }
    assert expected == graph._HOLDS
    node, tensor = onnx.NodeProto.DESCRIPTOR.fields_by_name, onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert (node["op_type"].number, node["domain"].number) == (graph._OP_TYPE, graph._DOMAIN)
    assert tensor["external_data"].number == graph._EXTERNAL_DATA
    assert tensor["data_location"].number == graph._DATA_LOCATION


@pytest.mark.parametrize("cut", [1, 3, 10, 50])
def test_a_truncated_file_is_refused(cut):
    with pytest.raises(ModelFault, match="not an ONNX file"):
        check_graph(model(initializers=[weights()]).SerializeToString()[:-cut], PLACE)


def held(field: int, content: bytes) -> bytes:
    """A message with one field, which contains another message."""
    length, size = len(content), b""
    while length > 0x7F:
        size, length = size + bytes([length & 0x7F | 0x80]), length >> 7
    return bytes([field << 3 | 2]) + size + bytes([length]) + content


def test_deep_nesting_is_refused():
    content = b""
    for _ in range(200):  # a graph in an attribute of a node of a graph
        content = held(1, held(5, held(6, content)))
    with pytest.raises(ModelFault, match="nested more than 100 levels deep"):
        check_graph(held(7, content), PLACE)


@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused(content):
    with contextlib.suppress(ModelFault):
        check_graph(content, PLACE)


@pytest.mark.parametrize("tag", [b"\x00", b"\x3b", b"\xba\x80\x80\x80\x10", b"\xba\x80\x80\x80\x80\x00"])
def test_ambiguous_tags_are_refused(tag):
    with pytest.raises(ModelFault, match="not an ONNX file"):
        check_graph(tag + b"\x00", PLACE)


@given(st.data())
def test_a_changed_file_is_judged_like_protobuf_reads_it(data):
    """Random bytes changed: the check refuses whatever the library sees as foreign or external."""
    content = bytearray(
        model([FOREIGN, helper.make_node("MatMul", ["x", "w"], ["z"])], [weights()]).SerializeToString()
    )
    first = data.draw(st.integers(0, len(content)))
    content[first : first + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=8))
    try:
        read = onnx.ModelProto.FromString(bytes(content))
    except Exception:  # not a protobuf message: ONNX Runtime refuses it
        return
    outside = any(t.data_location or t.external_data for t in read.graph.initializer)
    if outside or read.functions or any(node.domain not in graph.DOMAINS for node in read.graph.node):
        with pytest.raises(ModelFault):
            check_graph(bytes(content), PLACE)


@pytest.fixture
def replaced(artifacts, tmp_path) -> Callable[[bytes], Path]:
    """The model wine with another ONNX file and a matching manifest, as an attacker with write access would make it."""

    def replace(content: bytes) -> Path:
        build: Path = tmp_path / "artifacts" / "wine"
        shutil.copytree(artifacts / "wine", build)
        (build / ONNX_FILE).write_bytes(content)
        manifest, _ = read_manifest(build)
        changed = manifest.model_copy(update={"files": {**manifest.files, ONNX_FILE: sha256(content)}})
        (build / MANIFEST_FILE).write_bytes(dump_manifest(changed))
        return build

    return replace


def test_a_file_is_refused_before_onnx_runtime_parses_it(replaced):
    content = model([FOREIGN]).SerializeToString()
    assert ort.InferenceSession(content, providers=["CPUExecutionProvider"]).get_inputs()  # it would accept it
    with pytest.raises(ModelFault, match=r"wine/model\.onnx: operator com\.microsoft\.Gelu is not part of ONNX"):
        load_predictor(replaced(content), 1)


def test_a_file_in_onnx_runtime_s_own_format_is_refused(replaced, tmp_path):
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "model.ort")
    options.add_session_config_entry("session.save_model_format", "ORT")
    ort.InferenceSession(model([FOREIGN]).SerializeToString(), options, providers=["CPUExecutionProvider"])
    content = (tmp_path / "model.ort").read_bytes()
    assert ort.InferenceSession(content, providers=["CPUExecutionProvider"]).get_inputs()
    with pytest.raises(ModelFault, match=r"wine/model\.onnx: "):
        load_predictor(replaced(content), 1)


@pytest.mark.parametrize("case", REFUSED)
def test_a_service_with_such_a_file_does_not_start(case, replaced, tmp_path):
    make, words = REFUSED[case]
    folder = replaced(make().SerializeToString()).parent
    api = Running(["api", "--port", "0", "--artifacts", str(folder), "--state", str(tmp_path / "state")])
    try:
        assert api.process.wait(60) == 1
    finally:
        api.stop()
    (line,) = api.lines
    assert line.startswith("whyserve api: wine/model.onnx: ")
    assert words in line
