"""docs/onnx.md is true: its examples run one after another, and its comparison with TreeExplainer holds."""

import re

import pytest

from tests.conftest import ROOT
from whyserve.model.manifest import read_manifest

pytestmark = pytest.mark.slow
PAGE = (ROOT / "docs" / "onnx.md").read_text()
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def names(tmp_path, monkeypatch):
    """The names that the examples define, after a run in an empty folder."""
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    for example in EXAMPLES:
        exec(example, found)
    return found


def test_the_examples_run(names, tmp_path):
    assert len(EXAMPLES) == 3
    assert names["explanation"].values.shape == (2, 5)
    assert abs(names["explanation"].residuals).max() < 1e-6
    species, _ = read_manifest(tmp_path / "artifacts" / "species")
    assert species.spec.output.labels == ("Adelie", "Chinstrap", "Gentoo")
    assert species.example["instances"][0]["island"] in {"Biscoe", "Dream", "Torgersen"}
    assert species.parity.itself
    assert names["pipeline"].predict(names["table"][50:52]).tolist() == [
        answer["label"] for answer in names["species_model"].predict(names["table"][50:52])
    ]
    written = (tmp_path / "models" / "progression" / "model.onnx").read_bytes()
    assert written == names["model"].SerializeToString()
