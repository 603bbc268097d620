"""The package as it is installed: its public names, what they import, and the wheel."""

import os
import subprocess
import sys
import zipfile

import whyserve
from tests.conftest import ROOT

HEAVY = {"torch", "keras", "tensorflow", "fastapi", "onnxruntime", "shap", "pandas", "matplotlib", "httpx"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that are loaded after running code in a fresh interpreter."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", f"import sys; {code}; print(' '.join(sys.modules))"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_importing_it_loads_nothing_heavy():
    assert not HEAVY & loaded_by("import whyserve; dir(whyserve)")


def test_the_client_needs_neither_a_framework_nor_the_service_s_own():
    assert not {"torch", "keras", "tensorflow", "fastapi", "onnxruntime"} & loaded_by(
        "import whyserve; whyserve.Client; whyserve.to_shap; whyserve.Explanation"
    )


def test_the_explainer_needs_neither_the_export_s_packages_nor_the_service_s_own():
    names = {"onnx", "onnxruntime", "onnxscript", "tensorflow", "tf2onnx", "fastapi", "uvicorn"}
    assert not names & loaded_by("import whyserve; whyserve.Explainer")


def test_a_name_whose_packages_are_missing_says_what_to_install():
    code = "import sys; sys.modules['onnxruntime'] = None; import whyserve; whyserve.package"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert "whyserve.package needs onnxruntime, which is not installed: pip install 'whyserve[export]'" in done.stderr


def test_every_public_name_is_there_and_has_words():
    for name in whyserve.__all__:
        assert name in dir(whyserve)
        assert name == "__version__" or (getattr(whyserve, name).__doc__ or "").strip()


def test_the_wheel_brings_whyserve_and_no_package_called_app(tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name.startswith(f"whyserve-{whyserve.__version__}-")
    target = tmp_path / "site"
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        file.extractall(target)
    assert {name.partition("/")[0] for name in names} == {"whyserve", f"whyserve-{whyserve.__version__}.dist-info"}
    assert {"whyserve/py.typed", "whyserve/queues/lua/keys.lua", "whyserve/api/static/index.html"} <= set(names)
    done = subprocess.run(
        [sys.executable, "-c", "import whyserve.cli; whyserve.cli.main(['--help']); "],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "whyserve" in done.stdout
    entry = (target / f"whyserve-{whyserve.__version__}.dist-info" / "entry_points.txt").read_text()
    assert "whyserve = whyserve.cli:main" in entry
