"""Differences between the exported network and the original: rounding is accepted, anything else is named."""

import numpy as np
import pytest
import torch
from torch import nn

from whyserve.errors import ParityFault
from whyserve.export.comparison import BOUND, MOST_ROUNDING, Comparison
from whyserve.export.package.package import package
from whyserve.export.rows import TrialRows
from whyserve.export.stages.rounding import InFloat64
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.spec import ModelSpec, OutputSpec

ROWS = 6
OPERATION = "an operation of the network computes something else there"
SPEC = ModelSpec(
    name="small", framework="torch", task="regression",
    inputs=(InputSpec(name="x", features=(Feature(name="a"),)),),
    output=OutputSpec(names=("low", "high"), scores="values"),
)  # fmt: skip
TRIED = TrialRows({"x": np.zeros((ROWS, 1))}, (("background", 0, 2), ("random", 2, ROWS)))
EXACT = np.array([[1.0, -2.0], [0.5, 3.0], [1.0, 4.0], [0.1, 0.2], [2.0, 1.0], [-1.0, 0.0]])


def at(row: int, size: float) -> np.ndarray:
    """EXACT with a difference in one row's second output."""
    table = EXACT.copy()
    table[row, 1] += size
    return table


def compare(served, original=EXACT, exact=EXACT, batch=1):
    comparison = Comparison(SPEC, original, TRIED, lambda: exact)
    return comparison.largest("ONNX", served, batch), comparison.bound


def test_a_small_difference_needs_no_run_in_float64():
    def fail():
        raise AssertionError

    assert Comparison(SPEC, EXACT, TRIED, fail).largest("ONNX", at(3, 2e-5)) == pytest.approx(5e-6)


def test_a_small_probability_may_have_the_rounding_of_its_last_operation():
    small = np.full((ROWS, 2), 1e-6)
    served = small.copy()
    served[3, 1] += 1e-7  # a tenth of the scale, and less than one rounding of 1
    for scores, passes in (("probabilities", True), ("values", False)):
        spec = SPEC.model_copy(update={"output": SPEC.output.model_copy(update={"scores": scores})})
        comparison = Comparison(spec, small, TRIED, lambda: small)
        if passes:
            assert comparison.largest("ONNX", served) == 0
        else:
            with pytest.raises(ParityFault, match=OPERATION):
                comparison.largest("ONNX", served)


def test_a_difference_as_large_as_the_original_s_own_rounding_is_accepted():
    largest, bound = compare(at(3, -2e-4), at(2, 1e-4))
    assert largest == pytest.approx(5e-5, rel=0.01)
    assert BOUND < bound == pytest.approx(2e-4, rel=0.01)


@pytest.mark.parametrize(
    ("served", "original", "exact", "batch", "words"),
    [
        (at(3, 1e-3), EXACT, EXACT, 1, OPERATION),
        # As far as the original's rounding in another set of rows, but not in its own.
        (
            at(3, 1e-3) + at(0, 1e-3) - EXACT,
            at(0, 1e-3),
            EXACT,
            1,
            OPERATION,
        ),
        (at(3, 1e-2), at(2, 1e-3), EXACT, 1, "the network magnifies rounding: the original itself is 2.5e-04"),
        (at(3, 1e-2), at(2, 4 * MOST_ROUNDING), EXACT, 1, "the network magnifies rounding"),
        (at(3, 1e-3), EXACT, None, 1, OPERATION),
        (at(3, np.inf), EXACT, EXACT, 1, "a number inside the network is too large for its dtype"),
        (at(3, 1e-3), EXACT, EXACT, 64, "a size of the rows of the batch has become a constant"),
    ],
)
def test_another_difference_says_what_differs_where_and_why(served, original, exact, batch, words):
    with pytest.raises(ParityFault) as caught:
        compare(served, original, exact, batch)
    message = caught.value.message
    assert message.startswith("small: ONNX gives ")
    assert 'for output "high" of random row 1, but the original gives 0.2 (the difference is' in message
    assert words in message
    assert "\n" not in message


class Steep(nn.Module):
    """The exponential makes a relative error of its argument's rounding."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.first, self.last = nn.Linear(30, 40), nn.Linear(40, 2)

    def forward(self, x):
        return torch.exp(60 * self.last(torch.tanh(self.first(x))))


@pytest.mark.slow
def test_a_steep_network_is_accepted_with_its_bound_in_the_manifest(tmp_path):
    rows = np.random.default_rng(0).normal(size=(40, 30)).astype(np.float32)
    report = package(
        Steep(), tmp_path / "steep", background=rows, names=["low", "high"], artifacts=tmp_path / "artifacts"
    )
    parity = report.manifest.parity
    assert BOUND < parity.largest <= parity.bound <= MOST_ROUNDING
    assert "which is rounding: the original is as far from its own run in float64" in repr(report)


def test_a_network_runs_in_float64_whatever_its_program_says():
    x = torch.rand(5, 3)
    with InFloat64():
        found = torch.exp(30 * x.to(torch.float32) + torch.zeros(3, dtype=torch.float32)).to(torch.float32)
    assert found.dtype == torch.float64
    np.testing.assert_allclose(found, torch.exp(30 * x.double()), rtol=1e-14)
