import pytest
import torch

from whyserve.explain.game.coalitions import coalitions, shapley_weights
from whyserve.explain.methods.permutation.design import PROFILES, Design, Designs, make_design, tier_ends


def estimated(design: Design, value: torch.Tensor, players: int) -> torch.Tensor:
    """The Shapley values of a game with g(all players) = 0 by one design; value: (2^P,)."""
    codes = (design.present.T.long() * 2 ** torch.arange(players)).sum(-1)
    g = (value[codes] - value[(1 << players) - 1 - codes]) / 2
    return design.estimate @ torch.cat([g, g.new_zeros(1)])


def balanced_game(players: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random game with equal values of all players and of none, (2^P,), and its Shapley values."""
    value = torch.randn(1 << players, generator=torch.Generator().manual_seed(players), dtype=torch.float64)
    value[-1] = value[0]
    return value, shapley_weights(coalitions(players)) @ value


@pytest.mark.parametrize("profile", range(len(PROFILES)))
@pytest.mark.parametrize(("players", "pairs"), [(4, 3), (5, 7), (6, 12), (7, 20), (9, 5)])
def test_the_corrected_estimate_is_unbiased(players: int, pairs: int, profile: int):
    """For random games, which no prior fits."""
    value, truth = balanced_game(players)
    found = torch.stack(
        [estimated(make_design(players, pairs, profile, seed, 0), value, players) for seed in range(1500)]
    )
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - truth).abs() <= 4 * error + 1e-4).all()


def test_background_rows_with_larger_shares_get_more_pairs():
    shares = torch.tensor([1.0] * 10 + [9.0] * 10, dtype=torch.float64)[:, None].expand(20, 20)
    pairs = torch.zeros(20)
    for design, rows in Designs(20, 20).draw(shares, 40, 0):
        pairs[rows] += design.pairs
    assert pairs.sum() == pytest.approx(20 * 40, rel=0.02)
    # Half of 40, and a tenth of the other half twice, up to a step of 5.
    assert ((pairs[:10] - 24).abs() <= 5).all()
    assert ((pairs[10:] - 56).abs() <= 5).all()


def test_no_row_gets_more_pairs_than_exist():
    shares = torch.tensor([0.01] * 9 + [50.0], dtype=torch.float64)[:, None].expand(10, 5)
    found = [design.pairs for design, _ in Designs(10, 5).draw(shares, 8, 0)]
    assert max(found) == 15
    assert min(found) >= 1


def test_small_sizes_are_drawn_without_replacement():
    for seed in range(20):
        present = make_design(12, 60, 0, seed, 0).present.T
        small = present[present.sum(1) <= 2]
        assert len(small.unique(dim=0)) == len(small)


def test_the_next_row_uses_the_same_designs_and_another_seed_does_not():
    designs, shares = Designs(20, 8), torch.ones(20, 8, dtype=torch.float64)
    first, again, other = (designs.draw(shares, 12, seed) for seed in (3, 3, 4))
    assert all(one[0] is two[0] for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one[0].present, two[0].present) for one, two in zip(first, other, strict=True))
    assert len({tuple(design.present.flatten().tolist()) for design, _ in first}) == len(first)


def test_the_profile_follows_the_shares():
    equal = torch.ones(10, 10, dtype=torch.float64)
    few = torch.cat([20 * equal[:, :1], equal[:, 1:]], 1)
    chosen = [Designs(10, 10).draw(shares, 12, 0)[0][0] for shares in (equal, few)]
    for design, profile in zip(chosen, (0, 2), strict=True):
        assert torch.equal(design.estimate, make_design(10, 12, profile, 0, 0).estimate)


def test_labels_are_random_within_tiers():
    shares = torch.rand(2000, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = Designs(2000, 10).label(shares, 0)
    assert (labels.sort(-1).values == torch.arange(10)).all()
    first = 0
    for end in tier_ends(10):
        ranked = shares.argsort(dim=1, descending=True)[:, first:end]
        found = labels.gather(1, ranked)
        assert ((found >= first) & (found < end)).all()
        counts = (found[:, 0, None] == torch.arange(first, end)).double().mean(0)
        assert torch.allclose(counts, torch.full_like(counts, 1 / (end - first)), atol=0.05)
        first = end
    assert first == 10
    equal = Designs(4000, 5).label(torch.zeros(4000, 5, dtype=torch.float64), 0)
    assert torch.allclose(equal.double().mean(0), torch.full((5,), 2.0, dtype=torch.float64), atol=0.1)
