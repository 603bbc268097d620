from itertools import permutations

import pytest
import torch

from whyserve.explain.game.coalitions import coalitions, shapley_weights
from whyserve.explain.methods.permutation.designs import (
    AntitheticPermutations,
    LeverageSamples,
    draw_coalitions,
    helmert_contrasts,
    make_design,
    smaller_half,
)
from whyserve.explain.methods.permutation.kriging import Prior, expected_squared_error, krawtchouk, weights
from whyserve.explain.methods.permutation.sampling import random_labels


@pytest.mark.parametrize(
    ("design", "players"), [((3, 2), 5), ((3, 3), 6), ((2, 2), 6), ((5, 2), 6), ("permutations", 5), ("permutation", 6)]
)
def test_designs_are_unbiased_for_every_game(design: str | tuple[int, int], players: int):
    """Averaged over all relabellings, a random game's estimate is its Shapley values: exactly, not in a simulation."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(design, str):
        sampler: LeverageSamples | AntitheticPermutations = AntitheticPermutations(
            players, 1 if design == "permutation" else 3, generator
        )
    else:
        sampler = LeverageSamples(players, design[0], design[1], generator)
    value = torch.randn(1 << players, generator=generator, dtype=torch.float64)
    labels = torch.tensor(list(permutations(range(players))))
    bits = 2 ** torch.arange(players)
    codes = (sampler.present(labels, slice(0, sampler.pairs)) * bits).sum(-1)
    differences = (value[codes] - value[(1 << players) - 1 - codes]) / 2
    values, spread = sampler.combine(differences, ((value[-1] - value[0]) / 2).expand(len(labels)))

    expected = shapley_weights(coalitions(players)) @ value
    assert torch.allclose(values.gather(-1, labels).mean(0), expected, atol=1e-6)
    assert (spread >= 0).all()
    assert torch.allclose(values.sum(-1), (value[-1] - value[0]).expand(len(labels)), atol=1e-9)


def test_labels_depend_on_seed_and_background_row_only():
    assert torch.equal(random_labels((4, 0), 9, 6), random_labels((4, 0), 9, 6))
    assert not torch.equal(random_labels((4, 0), 9, 6), random_labels((4, 1), 9, 6))
    assert (random_labels((4, 0), 9, 6).sort(-1).values == torch.arange(6)).all()


@pytest.mark.parametrize(("players", "permutations", "groups"), [(7, 3, 2), (10, 8, 2), (9, 20, 4), (30, 4, 2)])
def test_coalitions_are_as_many_as_in_the_permutations_and_different(players, permutations, groups):
    signs, members = draw_coalitions(players, permutations, groups, torch.Generator().manual_seed(0))
    assert len(signs) == pytest.approx(permutations * (players - 1), abs=players)
    assert len(signs.unique(dim=0)) == len(signs)
    assert ((signs > 0).sum(1) <= players / 2).all()
    assert members.any(0).all()
    whole = torch.ones(1, players, dtype=torch.float64)
    for group in members:
        assert torch.linalg.matrix_rank(torch.cat([signs[group], whole])) == players


def test_contrasts_measure_the_spread():
    x = torch.randn(4, dtype=torch.float64)
    assert float((helmert_contrasts(4) @ x).square().sum()) == pytest.approx(float((x - x.mean()).square().sum()))


def test_a_coalition_and_its_complement_are_one_pair():
    assert smaller_half([4, 1, 2], 5) == smaller_half([0, 3], 5) == (0, 3)
    assert smaller_half([1, 2], 4) == smaller_half([3, 0], 4) == (0, 3)


def test_krawtchouk_sums_products_of_signs():
    table = krawtchouk(4)
    assert table[2].tolist() == [6, 0, -2, 0, 6]
    assert table[5].tolist() == [0] * 5


def test_expected_errors_are_what_random_games_give():
    """The prior's own games, drawn at random: their mean squared error is the one the weights are chosen by."""
    players, generator = 6, torch.Generator().manual_seed(2)
    prior, everyone = Prior(players), coalitions(players)
    signs, _ = draw_coalitions(players, 2, 2, generator)
    chosen = weights(signs, prior)
    seen = torch.cat([signs, torch.ones(1, players, dtype=torch.float64)])
    sizes = everyone.sum(1)
    variance = torch.zeros(len(everyone), dtype=torch.float64)
    for order, value in zip(prior.orders, prior.variances, strict=True):
        variance[sizes == order] = value
    monomials = torch.where(everyone[None] & (seen[:, None] < 0), -1.0, 1.0).prod(-1).double()
    drawn = torch.randn(4000, len(everyone), generator=generator, dtype=torch.float64) * variance.sqrt()
    truth = torch.einsum("gt,tp->gp", drawn * torch.where(sizes > 0, 2 / sizes, 0.0), everyone.double())
    error = (drawn @ monomials.T @ chosen.T - truth).square().sum(-1).mean()
    assert float(error) == pytest.approx(expected_squared_error(chosen, signs, prior), rel=0.05)


def test_more_pairs_have_a_higher_precision():
    few, more = make_design(12, 4, 2), make_design(12, 16, 2)
    assert more.precision > 4 * few.precision > 4 * make_design(12, 1, 1).precision
