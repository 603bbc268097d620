import pytest
import torch

from whyserve.explain.game.coalitions import coalitions, shapley_weights
from whyserve.explain.methods.permutation.design import Design, draw_designs, label_players, tier_ends


def estimated(design: Design, value: torch.Tensor, players: int) -> torch.Tensor:
    """The Shapley values of a game by the weights of one design; value: (2^P,)."""
    bits = 2 ** torch.arange(players)
    codes = (design.present * bits).sum(-1)
    g = (value[codes] - value[(1 << players) - 1 - codes]) / 2
    size = design.size[:, None].double()
    score = torch.where(design.present, 1 / size, -1 / (players - size)) * design.weight[:, None] * (players - 1)
    return score.T @ g


@pytest.mark.parametrize(("players", "pairs"), [(4, 3), (5, 7), (6, 12), (7, 40), (9, 5)])
def test_the_weights_are_unbiased_for_every_game(players: int, pairs: int):
    generator = torch.Generator().manual_seed(players)
    value = torch.randn(1 << players, generator=generator, dtype=torch.float64)
    value[-1] = value[0]
    designs = [
        design for _ in range(150) for design in draw_designs(players, torch.ones(10), pairs, generator, shared=True)
    ]
    found = torch.stack([estimated(design, value, players) for design in designs])
    truth = shapley_weights(coalitions(players)) @ value
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - truth).abs() <= 4 * error + 1e-9).all()


def test_all_pairs_give_the_exact_values():
    players, generator = 6, torch.Generator().manual_seed(1)
    value = torch.randn(1 << players, generator=generator, dtype=torch.float64)
    value[-1] = value[0]
    (design,) = draw_designs(players, torch.ones(1), 31, generator, shared=True)
    assert len(design.present.unique(dim=0)) == 31
    assert torch.allclose(estimated(design, value, players), shapley_weights(coalitions(players)) @ value)


def test_background_rows_with_larger_shares_get_more_pairs():
    weight = torch.tensor([1.0] * 10 + [9.0] * 10)
    designs = draw_designs(20, weight, 40, torch.Generator().manual_seed(0), shared=True)
    pairs = torch.zeros(20)
    for design in designs:
        pairs[design.background] += len(design.size)
    assert pairs.sum() == pytest.approx(20 * 40, rel=0.02)
    assert (pairs[:10] == 24).all()  # half of 40, and a tenth of the other half twice
    assert (pairs[10:] == 56).all()


def test_no_row_gets_more_pairs_than_exist():
    designs = draw_designs(5, torch.tensor([0.01] * 9 + [50.0]), 8, torch.Generator().manual_seed(0), shared=True)
    assert max(len(design.size) for design in designs) == 15
    assert min(len(design.size) for design in designs) >= 1


def test_small_sizes_are_drawn_without_replacement():
    for seed in range(20):
        (design,) = draw_designs(12, torch.ones(1), 60, torch.Generator().manual_seed(seed), shared=True)
        small = design.present[design.size <= 2]
        assert len(small.unique(dim=0)) == len(small)


def test_labels_are_random_within_tiers():
    shares = torch.rand(2000, 10, generator=torch.Generator().manual_seed(1))
    labels = label_players(shares, torch.Generator().manual_seed(0))
    assert (labels.sort(-1).values == torch.arange(10)).all()
    first = 0
    for end in tier_ends(10).tolist():
        ranked = shares.argsort(dim=1, descending=True)[:, first:end]
        found = labels.gather(1, ranked)
        assert ((found >= first) & (found < end)).all()
        counts = (found[:, 0, None] == torch.arange(first, end)).double().mean(0)
        assert torch.allclose(counts, torch.full_like(counts, 1 / (end - first)), atol=0.05)
        first = end
    assert first == 10
    equal = label_players(torch.zeros(4000, 5), torch.Generator().manual_seed(0))
    assert torch.allclose(equal.double().mean(0), torch.full((5,), 2.0, dtype=torch.float64), atol=0.1)
