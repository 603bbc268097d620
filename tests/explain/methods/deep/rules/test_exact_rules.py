"""Rules that are exact, against exact enumeration of eight players."""

from collections.abc import Sequence

import pytest
import torch

from tests.explain.methods.deep.rules.case import Case, Explained, explain, in_groups
from tests.explain.methods.deep.rules.cases_exact import CASES

ROWS = torch.tensor(
    [[1.2, -0.3, 0.8, 0.5, -0.9, 0.2, 0.7, -0.6], [-0.5, 0.4, 0.9, -1.1, 0.6, -0.2, 0.3, 0.75]]
).double()
# The second and sixth number are the same in the first row and its first background row.
BACKGROUND = torch.tensor(
    [[0.3, -0.3, -0.7, 0.1, 0.45, 0.2, -0.8, 0.65], [-0.2, 0.9, 0.25, 1.3, 0.15, 0.55, -1.05, -0.35]]
).double()


def run(cases: Sequence[Case]) -> Explained:
    return explain(lambda x: [case.function(x) for case in cases], ROWS, BACKGROUND)


FOUND = in_groups(CASES, run)


@pytest.mark.parametrize(
    ("number", "case"), [pytest.param(number, case, id=f"{case}-{number}") for number, case in enumerate(CASES)]
)
def test_exact_rule(number: int, case: Case):
    found, place = FOUND(number)
    assert case.operation in found.names[place]
    deep, exact = (each[..., found.columns[place]] for each in (found.deep, found.exact))
    assert torch.allclose(deep, exact, rtol=1e-9, atol=1e-9)
