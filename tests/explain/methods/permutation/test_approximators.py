"""At as many network rows, nobody's approximator is nearer to the truth than ours, on the shipped tables."""

import logging
import warnings

import pytest

from tests.explain.approximators import APPROXIMATORS, contest


@pytest.mark.parametrize("name", ["breast_cancer", "penguins", "wine"])
def test_none_is_nearer_than_permutation(name, artifacts):
    logging.getLogger("shapiq").setLevel(logging.ERROR)
    held = contest(artifacts, name)
    ours, spent = held.ours(2, range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = {approximator: held.theirs(approximator, spent, range(2)) for approximator in APPROXIMATORS}
    given = {approximator: distance for approximator, distance in theirs.items() if distance is not None}
    assert len(given) >= 8, theirs
    assert ours <= min(given.values()), theirs
