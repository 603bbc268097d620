"""docs/extending.md is true: its examples are added to a copy of the checkout, and their tests pass there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.conftest import MODELS, ROOT
from tests.explain.zoo.case import Lambda
from whyserve.errors import UnsupportedMethod, UnsupportedNetwork
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep
from whyserve.export.artifacts import is_current
from whyserve.export.sources import read_source
from whyserve.model.choice import choose_method
from whyserve.model.manifest import read_manifest
from whyserve.model.methods import METHODS, MethodFacts

PAGE = (ROOT / "docs" / "extending.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE))
COPIED = ("app", "tests", "pyproject.toml")
WITHOUT = shutil.ignore_patterns("__pycache__", "static", "node_modules")
RULES = "tests/explain/methods/deep"
# The tests of a section that the page does not show: those of all rules and of all queues.
SHARED = {
    "A rule of deep": (f"{RULES}/test_table.py::test_every_operation_has_a_case", f"{RULES}/rules/test_exact_rules.py"),
    "A queue": ("tests/queues/test_delivery.py", "tests/queues/test_leases.py", "tests/queues/test_results.py"),
}
# A part of them and of their parameters.
CHOSEN = {"A rule of deep": "has_a_case or bessel", "A queue": "memory"}
PASSED = {
    "A rule of deep": 4, "An explanation method": 2, "A queue": 27, "A kind of input": 3, "A protocol": 8
}  # fmt: skip
# Models are exported again for a new method, so the one that needs a model is alone.
ALONE = "A protocol"


def changed(text: str, changes: str) -> str:
    """The text after a block of changes, each of which must fit exactly one place."""
    for part in re.split(r"^@@\n", changes, flags=re.MULTILINE)[1:]:
        lines = part.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        assert text.count(old) == 1, f"{text.count(old)} places for:\n{old}"
        text = text.replace(old, new)
    return text


def extend(root: Path, section: str) -> list[str]:
    """Make a section's changes in a copy of the checkout. Returns the files that are new or changed."""
    touched = []
    for path, body in re.findall(r"^```python\n# (\S+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
        assert not (root / path).exists()
        (root / path).write_text(body)
        touched.append(path)
    for path, body in re.findall(r"^```diff\n--- (\S+)\n(.*?)^```$", section, re.DOTALL | re.MULTILINE):
        (root / path).write_text(changed((root / path).read_text(), body))
        touched.append(path)
    assert section.count("```python") + section.count("```diff") == len(touched)
    return touched


@pytest.fixture
def checkout(tmp_path):
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, ignore=WITHOUT)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def python(root: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(root / "app")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def passed(root: Path, *names: str) -> int:
    """Make the changes of sections and run their tests. Returns how many have passed."""
    touched = [path for name in names for path in extend(root, SECTIONS[name])]
    python(root, "-m", "ruff", "check", "--quiet", *touched)
    python(root, "-m", "ruff", "format", "--check", "--quiet", *touched)
    own = [path for path in touched if Path(path).name.startswith("test_")]
    shared = [path for name in names for path in SHARED.get(name, ())]
    chosen = " or ".join([*(Path(path).stem for path in own), *(CHOSEN[name] for name in names if name in CHOSEN)])
    printed = python(root, "-m", "pytest", "-q", "-p", "no:cacheprovider", *own, *shared, "-k", chosen)
    (count,) = re.findall(r"(\d+) passed", printed)
    return int(count)


def test_the_examples_pass_their_tests(checkout):
    """Together: one pytest imports torch once."""
    names = [name for name in SECTIONS if name != ALONE]
    assert passed(checkout, *names) == sum(PASSED[name] for name in names)


def test_the_protocol_answers_over_http(checkout, artifacts):
    for folder in (MODELS, artifacts):
        shutil.copytree(folder / "linear", checkout / folder.name / "linear")
    assert passed(checkout, ALONE) == PASSED[ALONE]


@pytest.mark.slow
def test_the_examples_together_keep_the_types_and_the_arrows_between_packages(checkout):
    for section in SECTIONS.values():
        extend(checkout, section)
    python(checkout, "-m", "mypy", "app")
    python(checkout, "-c", "from importlinter.cli import lint_imports_command; lint_imports_command()")


def test_the_operation_of_the_example_has_no_rule_yet():
    network = Network(Lambda(lambda _, x: torch.special.bessel_j0(x)), ("x",))
    with pytest.raises(UnsupportedNetwork) as refused:
        Deep(network, {"x": torch.ones(2, 1)}, Players.elements({"x": (1,)}))
    assert refused.value.message in SECTIONS["A rule of deep"].splitlines()


def test_a_method_touches_two_files_beside_its_own():
    section = SECTIONS["An explanation method"]
    assert re.findall(r"^--- (\S+)", section, re.MULTILINE) == [
        "app/whyserve/model/methods.py", "app/whyserve/explain/methods/registry.py",
    ]  # fmt: skip


def test_models_are_exported_again_for_a_new_method(artifacts, monkeypatch):
    source, (manifest, _) = read_source(MODELS / "linear"), read_manifest(artifacts / "linear")
    assert is_current(artifacts, source, manifest.settings)
    monkeypatch.setitem(METHODS, "occlusion", MethodFacts("of a newer version"))
    assert not is_current(artifacts, source, manifest.settings)


def test_a_method_that_an_old_artifact_has_not_measured_is_refused(artifacts, monkeypatch):
    manifest, _ = read_manifest(artifacts / "linear")
    assert choose_method(manifest, "exact").method == "exact"
    monkeypatch.setitem(METHODS, "occlusion", MethodFacts("of a newer version"))
    with pytest.raises(UnsupportedMethod, match="export it again"):
        choose_method(manifest, "occlusion")


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "docs/extending.md"])
def test_every_file_that_a_page_names_exists(page):
    """A path is relative to the repository or to app/whyserve. A module's name alone stands for one that exists."""
    text = (ROOT / page).read_text()
    new = set(re.findall(r"^```python\n# (\S+)", text, re.MULTILINE))
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    words = re.findall(r"`([\w./-]+)`", prose)
    paths = {word for word in words if re.search(r"\w/\w", word)}
    assert len(paths) > 20
    for path in paths - new:
        assert (ROOT / path).exists() or (ROOT / "app" / "whyserve" / path).exists(), path
    modules = {path.name for top in ("app", "tests") for path in (ROOT / top).rglob("*.py")}
    assert {word for word in words if word.endswith(".py") and "/" not in word} <= modules
