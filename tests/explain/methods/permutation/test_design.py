import pytest
import torch

from whyserve.explain.game.coalitions import coalitions, shapley_weights
from whyserve.explain.methods.permutation.design import PROFILES, Design, make_design


def estimated(design: Design, value: torch.Tensor, players: int) -> torch.Tensor:
    """The Shapley values of a game with g(all players) = 0 by one design; value: (2^P,)."""
    codes = (design.present.long() * 2 ** torch.arange(players)).sum(-1)
    g = (value[codes] - value[(1 << players) - 1 - codes]) / 2
    g = torch.cat([g, g.new_zeros(1)])
    return design.posterior @ g + design.correction @ (design.residual @ g)


def balanced_game(players: int) -> tuple[torch.Tensor, torch.Tensor]:
    """A random game with equal values of all players and of none, (2^P,), and its Shapley values."""
    value = torch.randn(1 << players, generator=torch.Generator().manual_seed(players), dtype=torch.float64)
    value[-1] = value[0]
    return value, shapley_weights(coalitions(players)) @ value


@pytest.mark.parametrize("profile", range(len(PROFILES)))
@pytest.mark.parametrize(("players", "pairs"), [(4, 3), (5, 7), (6, 12), (7, 20), (9, 5)])
def test_the_corrected_estimate_has_little_bias(players: int, pairs: int, profile: int):
    """For random games, which no prior fits: below 0.15 of a design's error; without the correction, 0.3 to 1.3."""
    value, truth = balanced_game(players)
    found = torch.stack(
        [estimated(make_design(players, pairs, profile, seed, 0), value, players) for seed in range(1500)]
    )
    error = found.std(0) / len(found) ** 0.5
    assert ((found.mean(0) - truth).abs() <= 0.15 * found.std(0) + 3 * error).all()


def test_small_sizes_are_drawn_without_replacement():
    for seed in range(20):
        present = make_design(12, 60, 0, seed, 0).present
        small = present[present.sum(1) <= 2]
        assert len(small.unique(dim=0)) == len(small)
