"""Each process imports its own dependencies and no other process's."""

import gc
import os
import subprocess
import sys
import threading
from importlib import import_module

import pytest

from tests.conftest import MODELS
from whyserve.imports import importing
from whyserve.model.spec import KERAS_FILE

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


def test_a_library_is_left_out_only_by_the_main_thread_and_only_meanwhile():
    found = []

    def look() -> None:
        with importing(without=["this_library"]):
            found.append("this_library" in sys.modules)

    look()
    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [True, False]
    assert "this_library" not in sys.modules
    with importing(without=["sys"]):
        assert import_module("sys") is sys, "what is imported stays"


@pytest.mark.parametrize("module", ["whyserve.processes.worker", "whyserve.batch"])
def test_a_worker_opens_keras_without_the_libraries_of_its_plots_and_wrappers(module):
    """They can be imported later, as shap does for the method kernel. Other programs may use them with Keras."""
    code = (
        f"import sys; import {module}\n"
        "from pathlib import Path; from whyserve.model.keras_file import OPTIONAL, open_keras\n"
        "open_keras(Path(sys.argv[1]).read_bytes())\n"
        "assert 'keras' in sys.modules\n"
        "print('without' if not set(OPTIONAL) & set(sys.modules) else 'with')\n"
        "import sklearn.base"
    )
    arguments = [sys.executable, "-W", "ignore", "-c", code, str(MODELS / "linear" / KERAS_FILE)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == ("without" if module == "whyserve.processes.worker" else "with")
