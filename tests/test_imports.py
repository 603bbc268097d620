"""Each process imports its own dependencies and no other process's."""

import gc
import os
import subprocess
import sys
from importlib import import_module

import pytest

from whyserve.imports import importing

CODE = "import sys; import {module}; print(' '.join(sorted({{name.split('.')[0] for name in sys.modules}})))"


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("whyserve.processes.api", {"torch", "keras", "tensorflow", "shap", "onnx", "matplotlib"}),
        ("whyserve.processes.worker", {"fastapi", "uvicorn", "starlette", "tensorflow", "onnxruntime", "tf2onnx"}),
        (
            "whyserve.processes.supervisor",
            {"torch", "keras", "tensorflow", "shap", "onnx", "onnxruntime", "uvicorn", "fastapi"},
        ),
        ("whyserve.export.stages.keras", {"torch", "fastapi", "uvicorn"}),
        ("whyserve.export.stages.torch", {"tensorflow", "fastapi", "uvicorn", "onnxruntime"}),
    ],
)
def test_a_process_imports_no_other_process_dependencies(module, never):
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE.format(module=module)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert not never & set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["whyserve.processes.api", "whyserve.processes.worker"])
def test_opentelemetry_is_imported_only_if_traces_are_on(module):
    code = f"import sys; import {module}; print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_during_an_import_and_what_was_set_is_set_again(enabled):
    before = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        with importing():
            assert not gc.isenabled()
        assert gc.isenabled() == enabled
        with pytest.raises(ModuleNotFoundError), importing():
            import_module("no_such_module")
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if before else gc.disable)()
