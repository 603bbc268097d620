"""With the same number of network rows, no approximator of shapiq is more accurate than permutation."""

import logging
import warnings

import pytest

from tests.explain.approximators import APPROXIMATORS, comparison


@pytest.mark.parametrize(
    "name", ["penguins", *(pytest.param(name, marks=pytest.mark.slow) for name in ("breast_cancer", "wine"))]
)
def test_none_is_more_accurate_than_permutation(name, artifacts):
    logging.getLogger("shapiq").setLevel(logging.ERROR)
    compared = comparison(artifacts, name)
    ours, spent = compared.ours(2, range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {approximator: compared.theirs(approximator, spent + 2, range(2)) for approximator in APPROXIMATORS}
    finite = {approximator: distance for approximator, distance in theirs.items() if distance is not None}
    assert len(finite) >= 8, theirs
    assert ours <= min(finite.values()), theirs
