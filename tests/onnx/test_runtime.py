"""ONNX Runtime leaves no trace outside the checkout."""

import os
import subprocess
import sys

PROGRAM = """
import onnx, onnx.helper as h
from whyserve.onnx.runtime import onnxruntime
x, y = (h.make_tensor_value_info(n, onnx.TensorProto.FLOAT, [None, 1]) for n in "xy")
graph = h.make_graph([h.make_node("Relu", ["x"], ["y"])], "g", [x], [y])
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=10)
onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
"""


def test_a_session_writes_nothing_under_the_home_folder(tmp_path):
    subprocess.run([sys.executable, "-c", PROGRAM], env={**os.environ, "HOME": str(tmp_path)}, check=True, timeout=60)
    assert list(tmp_path.rglob("*")) == []
