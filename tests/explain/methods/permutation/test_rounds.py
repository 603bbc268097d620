import pytest
import torch

from whyserve.explain.methods.permutation.design import make_design, tier_ends
from whyserve.explain.methods.permutation.rounds import Rounds
from whyserve.explain.methods.permutation.sampling import combine


def test_background_rows_with_larger_shares_get_more_pairs():
    shares = torch.tensor([1.0] * 10 + [9.0] * 10, dtype=torch.float64)[:, None].expand(20, 20)
    drawn, rows, _ = Rounds(20, 20).draw(shares, 40, 0)
    pairs = rows[drawn.slot].bincount(minlength=20)
    assert pairs.sum() == pytest.approx(20 * 40, rel=0.02)
    # Half of 40, and a tenth of the other half twice, up to a step of 5.
    assert ((pairs[:10] - 24).abs() <= 5).all()
    assert ((pairs[10:] - 56).abs() <= 5).all()


def test_no_row_gets_more_pairs_than_exist():
    shares = torch.tensor([0.01] * 9 + [50.0], dtype=torch.float64)[:, None].expand(10, 5)
    drawn, rows, _ = Rounds(10, 5).draw(shares, 8, 0)
    pairs = rows[drawn.slot].bincount(minlength=10)
    assert pairs.max() == 15
    assert pairs.min() >= 1


def test_the_next_row_uses_the_same_designs_and_another_seed_does_not():
    rounds, shares = Rounds(20, 8), torch.ones(20, 8, dtype=torch.float64)
    first, again, other = (rounds.draw(shares, 12, seed)[0] for seed in (3, 3, 4))
    assert first is again
    assert not torch.equal(first.present, other.present)
    assert len({tuple(signs.flatten().tolist()) for signs in first.signs}) == len(first.signs)


def test_the_profile_follows_the_shares():
    equal = torch.ones(10, 10, dtype=torch.float64)
    few = torch.cat([20 * equal[:, :1], equal[:, 1:]], 1)
    chosen = [Rounds(10, 10).draw(shares, 12, 0)[0] for shares in (equal, few)]
    for drawn, profile in zip(chosen, (0, 1), strict=True):
        assert torch.equal(drawn.posterior[0], make_design(10, 12, profile, 0, 0).posterior)


def test_labels_are_random_within_tiers():
    shares = torch.rand(2000, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labels = labels_by_row(shares)
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
    equal = labels_by_row(torch.zeros(4000, 5, dtype=torch.float64))
    assert torch.allclose(equal.double().mean(0), torch.full((5,), 2.0, dtype=torch.float64), atol=0.1)


@pytest.mark.parametrize("rows", [7, 20, 23])
def test_a_round_evaluates_every_design_for_its_background_rows(rows: int):
    """Groups of 2 or 3 background rows with 5 to 30 pairs: nothing is lost between the paddings."""
    shares = torch.rand(rows, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64) ** 4
    drawn, background, labels = Rounds(rows, 9).draw(shares, 12, 0)
    assert (background[drawn.slots].sort().values == torch.arange(rows)).all()
    assert abs(len(drawn.slot) / rows - 12) < 1
    effect = torch.randn(rows, 9, 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    present = drawn.present.gather(1, labels[drawn.slot]).neg().double()
    g = ((present - 0.5)[..., None] * effect[background[drawn.slot]]).sum(1)
    label = labels[..., None]
    found = combine(drawn, g, effect[background].sum(1) / 2, torch.zeros(label.shape, dtype=torch.float64))
    by_player = found[..., :2].sum(-1, keepdim=True).gather(1, label)[drawn.slots]
    guided = combine(
        drawn,
        g,
        effect[background].sum(1) / 2,
        torch.empty_like(effect[background]).scatter_(1, label, effect[background]),
    )
    exact = guided[..., :2].sum(-1, keepdim=True).gather(1, label)[drawn.slots]
    assert torch.allclose(exact, effect[background[drawn.slots]], atol=1e-9)
    # Without a guide, kriging finds most of a linear game.
    assert float((by_player - exact).square().sum() / exact.square().sum()) < 0.5


def labels_by_row(shares: torch.Tensor) -> torch.Tensor:
    """(B, P)"""
    drawn, rows, labels = Rounds(*shares.shape).draw(shares, 2, 0)
    return labels[drawn.slots[rows[drawn.slots].argsort()]]
