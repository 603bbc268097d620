"""What is said of the packages that are installed: their vulnerabilities, and the bill of materials of each image."""

import json
import runpy
import tarfile
import tomllib
import zipfile
from importlib.metadata import distributions

import pytest
from packaging.utils import canonicalize_name

from tests.conftest import ROOT

judge = runpy.run_path(str(ROOT / ".ci" / "audit.py"))["judge"]
release = runpy.run_path(str(ROOT / ".ci" / "release.py"))
sbom = runpy.run_path(str(ROOT / ".ci" / "sbom.py"))

WELL = {"name": "numpy", "version": "2.4.6", "vulns": []}
ILL = {"name": "jinja2", "version": "2.11.0", "vulns": [{"id": "PYSEC-2021-66", "fix_versions": ["2.11.3"]}]}
UNKNOWN = {"name": "redis", "skip_reason": "Dependency not found on PyPI"}


def test_a_vulnerability_is_named_with_the_version_that_mends_it():
    reached, found, words = judge({"dependencies": [WELL, ILL, UNKNOWN]}, "")
    assert reached
    assert found == ["jinja2 2.11.0: PYSEC-2021-66, mended in 2.11.3"]
    assert words == "2 packages audited, 1 vulnerabilities; unknown to the index: redis"


@pytest.mark.parametrize("dependencies", [[], [UNKNOWN]], ids=["no report", "an index that knows nothing"])
def test_an_index_that_cannot_be_asked_is_no_good_news(dependencies):
    reached, found, words = judge({"dependencies": dependencies}, "ConnectionError: …")
    assert (reached, found) == (False, [])
    assert words.startswith("nothing was audited: ")
    assert words.endswith("ConnectionError: …")


@pytest.mark.parametrize(
    ("extra", "present", "absent"),
    [
        ("api", {"fastapi", "onnxruntime", "numpy", "starlette"}, {"torch", "keras", "onnx", "pytest", "jinja2"}),
        ("worker", {"torch", "keras", "shap", "numba"}, {"fastapi", "onnxruntime", "tensorflow-cpu", "pytest"}),
    ],
)
def test_the_bill_of_an_image_has_what_its_extra_needs_and_no_more(extra, present, absent):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed = {canonicalize_name(each.name): each for each in distributions()}
    names = sbom["needed"]([*project["dependencies"], *project["optional-dependencies"][extra]], installed)
    assert present <= names
    assert not absent & names
    parts = [{"name": name, "bom-ref": f"{name}==1"} for name in ("numpy", "pytest")]
    links = [{"ref": "root", "dependsOn": ["numpy==1", "pytest==1"]}, {"ref": "pytest==1"}, {"ref": "numpy==1"}]
    whole = {"metadata": {"component": {"bom-ref": "root"}}, "components": parts, "dependencies": links}
    made = sbom["of_image"](whole, f"whyserve-{extra}", names)
    assert made["metadata"]["component"]["name"] == f"whyserve-{extra}"
    assert [part["name"] for part in made["components"]] == ["numpy"]
    assert made["dependencies"] == [{"ref": "root", "dependsOn": ["numpy==1"]}, {"ref": "numpy==1", "dependsOn": []}]


def test_a_release_has_every_file_of_its_tag(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    wheel, constraints, context = release["build"]("HEAD", tmp_path)
    assert constraints.read_text().startswith("#") or "==" in constraints.read_text()
    version = wheel.name.split("-")[1]
    wrong = release["faults"]("HEAD", wheel, context)
    assert wrong == [f"the tag is HEAD, and the package's version {version}"]
    with zipfile.ZipFile(wheel, "a") as packed:
        packed.writestr("whyserve/stray.py", "")
    assert "in the wheel and not in the tag: whyserve/stray.py" in release["faults"]("HEAD", wheel, context)
    with tarfile.open(context, "w:gz") as files:
        files.add(ROOT / "Dockerfile", "Dockerfile")
    assert "not in the build context: pyproject.toml" in release["faults"]("HEAD", wheel, context)


def test_a_bill_of_materials_of_another_environment_is_named(tmp_path):
    bill, constraints = tmp_path / "api.cdx.json", tmp_path / "constraints.txt"
    parts = {"torch": "2.13.0+cpu", "Flask-Cors": "6.0.4", "setuptools": "84.0"}
    bill.write_text(json.dumps({"components": [{"name": name, "version": each} for name, each in parts.items()]}))
    constraints.write_text("# pinned\nflask_cors==6.0.5\ntorch==2.13.0  # of the CPU\n")
    (wrong,) = release["drifted"](bill, constraints)
    assert wrong.startswith("api.cdx.json: flask-cors 6.0.4, but constraints.txt has 6.0.5;")
