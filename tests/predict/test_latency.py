"""The measured latency of a model decides whether it runs inline."""

import time

import numpy as np
import pytest

from tests.conftest import shipped
from whyserve.model.spec import ModelSpec
from whyserve.predict.latency import MEASURE_S, MEASURED_ROWS, Latency, measure
from whyserve.predict.predictor import INLINE_S, Predictor, load_predictor

SPEC = ModelSpec.model_validate(
    {
        "name": "slow",
        "framework": "torch",
        "task": "regression",
        "inputs": [
            {"name": "image", "kind": "image", "shape": [4, 4, 1]},
            {"name": "codes", "kind": "tokens", "dtype": "int64", "shape": [3]},
        ],
        "output": {"names": ["y"]},
    }
)


def test_rows_are_counted_in_seconds():
    latency = Latency(fixed_s=0.010, row_s=0.002)
    assert latency.seconds(5) == pytest.approx(0.020)
    assert latency.rows_within(0.0201) == 5
    assert latency.rows_within(0.001) == 1  # a batch has at least one row
    assert Latency(0.0, 0.0).rows_within(0.001) > 1_000_000


def test_fixed_and_row_times_are_measured():
    """The model sleeps for a fixed time and a time per row."""
    seen = []

    def run(arrays):
        rows = len(arrays["image"])
        seen.append({name: (array.shape, array.dtype) for name, array in arrays.items()})
        time.sleep(0.004 + 0.002 * rows)

    latency = measure(run, SPEC)
    assert {name: shape for name, (shape, _) in seen[0].items()} == {"image": (1, 4, 4, 1), "codes": (1, 3)}
    assert seen[0]["codes"][1] == np.int64
    # On a busy machine, a sleep may last longer, but never shorter.
    assert latency.seconds(1) >= 0.006
    assert latency.seconds(MEASURED_ROWS) >= 0.036


def test_a_slow_model_is_not_measured_for_long():
    runs = []

    def run(arrays):
        runs.append(len(arrays["image"]))
        time.sleep(2 * MEASURE_S)

    measure(run, SPEC)
    assert runs == [1, 1, MEASURED_ROWS, MEASURED_ROWS]


@pytest.mark.parametrize("name", shipped())
def test_shipped_models_are_small_enough_to_run_inline(name, artifacts):
    """They take microseconds: only a machine a hundred times slower would use a thread."""
    predictor = load_predictor(artifacts / name, 1)
    assert 0 < predictor.latency.seconds(1) < 100 * INLINE_S
    if predictor.latency.seconds(1) <= INLINE_S:
        assert predictor.inline_rows >= 1


def test_slow_predictions_run_in_a_thread(artifacts):
    small = load_predictor(artifacts / "linear", 1)

    def made(latency):
        return Predictor(small.manifest, small.digest, small._session, latency=latency)

    assert made(Latency(INLINE_S, INLINE_S)).inline_rows == 0
    assert made(Latency(0.0, INLINE_S / 10)).inline_rows in {9, 10}
