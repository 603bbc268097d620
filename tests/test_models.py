"""The shipped models are those that their train.py makes, with the score in their model.toml."""

import io
import os
import subprocess
import sys
import tomllib

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.conftest import MODELS, ROOT, shipped
from whyserve.model.arrays import read_npz
from whyserve.model.spec import read_spec

COMPARE_KERAS = """
import sys, keras, numpy as np
one, two = (keras.models.load_model(path, compile=False).get_weights() for path in sys.argv[1:])
print(max(float(np.abs(a - b).max() / (np.abs(a).max() + 1e-9)) for a, b in zip(one, two, strict=True)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", shipped())
def test_training_again_gives_the_same_model(name, tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "torch", "OMP_NUM_THREADS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, "-W", "ignore", *arguments],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()[-1]

    said = run(f"models/{name}/train.py", str(tmp_path))
    score = tomllib.loads((MODELS / name / "model.toml").read_text())["score"]
    assert f"{score['metric']} {score['value']:.3f} on {score['on']}" in said
    assert (tmp_path / "example.json").read_text() == (MODELS / name / "example.json").read_text()
    for tokenizer in MODELS.glob(f"{name}/tokenizer.json"):
        assert (tmp_path / tokenizer.name).read_bytes() == tokenizer.read_bytes()
    for file in read_spec(MODELS / name).explain.files.values():
        made, shipped_rows = (read_npz((folder / file).read_bytes()) for folder in (tmp_path, MODELS / name))
        for key, array in shipped_rows.items():
            np.testing.assert_array_equal(made[key], array)
            assert len(array) <= 100
    if (tmp_path / "model.keras").exists():
        gap = float(run("-c", COMPARE_KERAS, str(tmp_path / "model.keras"), str(MODELS / name / "model.keras")))
        assert gap < 1e-3
    else:
        weights = load_file(tmp_path / "weights.safetensors")
        for key, array in load_file(MODELS / name / "weights.safetensors").items():
            np.testing.assert_allclose(weights[key], array, rtol=1e-3, atol=1e-4)


def test_a_background_is_plain_arrays():
    for name in shipped():
        content = (MODELS / name / "background.npz").read_bytes()
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            assert file.files
