"""Operations that are decomposed, against the same functions written out."""

import pytest
import torch
import torch.nn.functional as F

from tests.explain.methods.deep.rules.case import explain
from tests.explain.methods.deep.rules.cases_exact import weights
from tests.explain.methods.deep.rules.test_exact_rules import BACKGROUND, ROWS


def standardised(x: torch.Tensor, eps: float = 1e-5) -> torch.Tensor:
    """Over the last dimension, in parts that have rules."""
    centred = x - x.mean(-1, keepdim=True)
    return centred * torch.rsqrt((centred * centred).mean(-1, keepdim=True) + eps)


NORMS = {
    "layer_norm": (
        lambda x: F.layer_norm(x.reshape(-1, 2, 4), (4,), weights(4), weights(4)),
        lambda x: standardised(x.reshape(-1, 2, 4)) * weights(4) + weights(4),
    ),
    "layer_norm plain": (lambda x: F.layer_norm(x, (8,), eps=0.1), lambda x: standardised(x, 0.1)),
    "group_norm": (
        lambda x: F.group_norm(x.reshape(-1, 4, 2), 2, weights(4), weights(4)),
        lambda x: standardised(x.reshape(-1, 2, 4)).reshape(-1, 4, 2) * weights(4, 1) + weights(4, 1),
    ),
    "instance_norm": (
        lambda x: F.instance_norm(x.reshape(-1, 2, 4), weight=weights(2), bias=weights(2)),
        lambda x: standardised(x.reshape(-1, 2, 4)) * weights(2, 1) + weights(2, 1),
    ),
    "instance_norm with statistics": (
        lambda x: F.instance_norm(x.reshape(-1, 2, 4), weights(2) * 1, weights(2).abs(), use_input_stats=True),
        lambda x: standardised(x.reshape(-1, 2, 4)),
    ),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_norm_is_the_product_of_the_centred_values_and_their_inverse_deviation(name: str):
    whole, parts = NORMS[name]
    found = explain(lambda x: [whole(x), parts(x)], ROWS, BACKGROUND)
    one, other = (found.deep[..., columns] for columns in found.columns)
    assert torch.allclose(one, other, atol=1e-9)
    assert one.abs().max() > 0.01


def apart(x: torch.Tensor) -> torch.Tensor:
    """(rows, 2, 3) from (rows, 8): the differences of two vectors of two and of three vectors of the same."""
    left, right = x[:, :4].reshape(-1, 2, 1, 2), x[:, [4, 5, 6, 7, 1, 2]].reshape(-1, 1, 3, 2)
    return left - right


NORMS_OF_VECTORS = {
    1: lambda u: u.abs().sum(-1),
    2: lambda u: (u * u).sum(-1).sqrt(),
    3: lambda u: (u.abs() ** 3).sum(-1) ** (1 / 3),
    torch.inf: lambda u: u.abs().amax(-1),
}


@pytest.mark.parametrize("order", NORMS_OF_VECTORS)
def test_distances_are_norms_of_differences(order: float):
    def cases(x: torch.Tensor) -> list[torch.Tensor]:
        left, right = x[:, :4].reshape(-1, 2, 2), x[:, [4, 5, 6, 7, 1, 2]].reshape(-1, 3, 2)
        distances = torch.cdist(left, right, order, "donot_use_mm_for_euclid_dist")
        return [distances, torch.linalg.vector_norm(apart(x), order, -1), NORMS_OF_VECTORS[order](apart(x))]

    found = explain(cases, ROWS, BACKGROUND)
    one, two, other = (found.deep[..., columns] for columns in found.columns)
    assert torch.allclose(one, other, atol=1e-7)
    assert torch.allclose(two, other, atol=1e-7)
    assert one.abs().max() > 0.01
