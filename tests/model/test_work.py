"""The counted work of a request."""

import pytest

from whyserve.model.choice import choose_method
from whyserve.model.manifest import Manifest, read_manifest
from whyserve.model.methods import METHODS
from whyserve.model.work import Work, counted_work

ACCURATE = {"distance": 0.0, "residual_of_effect": 0.0}
FIGURES = {
    "exact": {"fits": True, "ms_per_row": 20.0, **ACCURATE},
    "permutation": {
        "fits": True,
        "ms_per_row": 80.0,
        "within_budget": {"samples": 2, "ms_per_row": 10.0, **ACCURATE},
        **ACCURATE,
    },
    "kernel": {"fits": True, "ms_per_row": 1000.0, **ACCURATE},
    "deep": {"fits": False, "why": "mixes rows"},
}


@pytest.fixture
def manifest(artifacts) -> Manifest:
    """Measured for one output and 100 rows of background; the default is permutation with two samples."""
    found, _ = read_manifest(artifacts / "breast_cancer")
    certificate = {"default": "permutation", "reason": "", "samples": 2, "methods": FIGURES}
    assert found.spec.outputs_asked == 1
    return found.model_copy(update={"certificate": certificate, "background_rows": 100})


def counted(manifest: Manifest, method: str, samples: int | None, outputs: int, background: int) -> Work:
    return counted_work(manifest, choose_method(manifest, method, samples), outputs, background)


def test_units_are_outputs_times_background_rows_times_samples(manifest):
    assert counted(manifest, "permutation", 50, 6, 100).units == 6 * 100 * 50
    assert counted(manifest, "kernel", 300, 1, 10).units == 10 * 300
    # Without a number, those that the method or the certificate takes; a method that does not sample takes none.
    assert counted(manifest, "auto", None, 1, 100).units == 100 * 2
    assert counted(manifest, "auto", 50, 1, 100).units == 100 * 50
    assert counted(manifest, "permutation", None, 1, 100).units == 100 * METHODS["permutation"].samples
    assert counted(manifest, "exact", 100_000, 3, 100).units == 300


def test_seconds_follow_the_certificate(manifest):
    def seconds(method: str, samples: int | None = None, outputs: int = 1, background: int = 100) -> float:
        return counted(manifest, method, samples, outputs, background).seconds

    assert seconds("auto") == pytest.approx(0.01)
    assert seconds("auto", 100_000) == pytest.approx(500)
    assert seconds("permutation", 20) == pytest.approx(0.1)
    assert seconds("exact", outputs=12) == pytest.approx(0.24)
    assert seconds("exact", background=50) == pytest.approx(0.01)
    assert seconds("kernel") == pytest.approx(1.0)


def test_a_limit_of_the_standard_error_fills_the_time():
    assert Work(100, 0.5).filling(2) == (400, 2)
    assert Work(100, 5).filling(2) == (100, 5)
