"""The example on photographs: a pretrained network, exported and explained by its regions."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

import whyserve
from tests.conftest import ROOT
from whyserve.model.choice import default_figures

# Smaller than the photographs of the example, which take six times as long.
SIZE = 96


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("examples") / "photographs"
    shutil.copytree(ROOT / "examples" / "photographs", made)
    done = subprocess.run(
        [sys.executable, str(made / "make.py"), str(made), str(SIZE)],
        capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "flower: daisy, coffee: espresso" in done.stdout
    toml = (made / "model.toml").read_text()
    assert "[224, 224, 3]" in toml
    (made / "model.toml").write_text(toml.replace("[224, 224, 3]", f"[{SIZE}, {SIZE}, 3]"))
    return made


@pytest.mark.slow
def test_photographs_are_explained_by_their_regions(folder):
    model = whyserve.load(folder, folder.parent / "artifacts")
    certificate = model.manifest.certificate
    assert (certificate["default"], certificate["samples"], certificate["rows"]) == ("permutation", 16, 1)
    assert certificate["reference"].startswith("permutation with 48 samples")
    assert default_figures(certificate)["distance"] <= 0.3
    rows = json.loads((folder / "example.json").read_text())["instances"]
    explanation = model.explain(rows)
    assert explanation.reliable
    values = np.asarray(explanation.values).ravel()
    assert 20 <= np.count_nonzero(values) <= 60
    gap = explanation.predictions - explanation.base_values
    np.testing.assert_allclose(values.sum(), gap.ravel(), atol=1e-5)
