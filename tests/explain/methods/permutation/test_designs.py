from itertools import permutations

import pytest
import torch

from whyserve.explain.game.coalitions import coalitions, shapley_weights
from whyserve.explain.methods.permutation.designs import Spread, Walks, contrasts, folded, make_design, spread
from whyserve.explain.methods.permutation.kriging import Prior, expected_error, krawtchouk, weights
from whyserve.explain.methods.permutation.sampling import renaming


@pytest.mark.parametrize(
    ("design", "players"), [((3, 2), 5), ((3, 3), 6), ((2, 2), 6), ((5, 2), 6), ("walks", 5), ("walk", 6)]
)
def test_designs_are_unbiased_for_every_game(design: str | tuple[int, int], players: int):
    """Averaged over all renamings, a random game's estimate is its Shapley values: exactly, not in a simulation."""
    generator = torch.Generator().manual_seed(1)
    if isinstance(design, str):
        made: Spread | Walks = Walks(players, 1 if design == "walk" else 3, generator)
    else:
        made = Spread(players, design[0], design[1], generator)
    worth = torch.randn(1 << players, generator=generator, dtype=torch.float64)
    places = torch.tensor(list(permutations(range(players))))
    bits = 2 ** torch.arange(players)
    codes = (made.present(places, slice(0, made.pairs)) * bits).sum(-1)
    odd = (worth[codes] - worth[(1 << players) - 1 - codes]) / 2
    values, apart = made.combine(odd, ((worth[-1] - worth[0]) / 2).expand(len(places)))

    expected = shapley_weights(coalitions(players)) @ worth
    assert torch.allclose(values.gather(-1, places).mean(0), expected, atol=1e-6)
    assert (apart >= 0).all()
    assert torch.allclose(values.sum(-1), (worth[-1] - worth[0]).expand(len(places)), atol=1e-9)


def test_renamings_hang_on_seed_and_background_row_alone():
    assert torch.equal(renaming((4, 0), 9, 6), renaming((4, 0), 9, 6))
    assert not torch.equal(renaming((4, 0), 9, 6), renaming((4, 1), 9, 6))
    assert (renaming((4, 0), 9, 6).sort(-1).values == torch.arange(6)).all()


@pytest.mark.parametrize(("players", "walks", "groups"), [(7, 3, 2), (10, 8, 2), (9, 20, 4), (30, 4, 2)])
def test_coalitions_are_as_many_as_the_walks_would_take_and_none_twice(players, walks, groups):
    signs, mine = spread(players, walks, groups, torch.Generator().manual_seed(0))
    assert len(signs) == pytest.approx(walks * (players - 1), abs=players)
    assert len(signs.unique(dim=0)) == len(signs)
    assert ((signs > 0).sum(1) <= players / 2).all()
    assert mine.any(0).all()
    whole = torch.ones(1, players, dtype=torch.float64)
    for group in mine:
        assert torch.linalg.matrix_rank(torch.cat([signs[group], whole])) == players


def test_contrasts_measure_the_spread():
    x = torch.randn(4, dtype=torch.float64)
    assert float((contrasts(4) @ x).square().sum()) == pytest.approx(float((x - x.mean()).square().sum()))


def test_a_coalition_and_its_complement_are_one_pair():
    assert folded([4, 1, 2], 5) == folded([0, 3], 5) == (0, 3)
    assert folded([1, 2], 4) == folded([3, 0], 4) == (0, 3)


def test_krawtchouk_sums_products_of_signs():
    table = krawtchouk(4)
    assert table[2].tolist() == [6, 0, -2, 0, 6]
    assert table[5].tolist() == [0] * 5


def test_expected_errors_are_what_random_games_give():
    """The prior's own games, drawn at random: their mean squared error is the one the weights are chosen by."""
    players, generator = 6, torch.Generator().manual_seed(2)
    prior, everyone = Prior(players), coalitions(players)
    signs, _ = spread(players, 2, 2, generator)
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
    assert float(error) == pytest.approx(expected_error(chosen, signs, prior), rel=0.05)


def test_more_pairs_are_expected_to_come_nearer():
    few, more = make_design(12, 4, 2), make_design(12, 16, 2)
    assert more.precision > 4 * few.precision > 4 * make_design(12, 1, 1).precision
