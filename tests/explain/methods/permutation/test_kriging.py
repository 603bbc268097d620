import pytest
import torch

from whyserve.explain.game.coalitions import coalitions
from whyserve.explain.methods.permutation.kriging import REACH, krige, prior, sizes_by_label


def test_kriging_is_the_posterior_mean_of_the_priors_games():
    """Compared with the posterior mean that follows from the prior's coefficients, written out for 5 players."""
    players, generator = 5, torch.Generator().manual_seed(0)
    rho = torch.tensor([0.9, 0.5, 0.3, 0.2, 0.1], dtype=torch.float64)
    everyone = coalitions(players)
    odd = everyone[everyone.sum(1) % 2 == 1].double()
    seen = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1]], dtype=torch.bool)
    signs = torch.cat([torch.where(seen, 1.0, -1.0), torch.ones(1, players)]).double()
    # x³/6 repeats players, so its terms are those of sinh up to the seventh order: the variances follow from the signs.
    signs_of_all = torch.where(everyone, 1.0, -1.0).double()
    x = signs_of_all @ rho
    characters = torch.where(odd[None].bool() & ~everyone[:, None], -1.0, 1.0).double().prod(-1)
    variances = characters.T @ (x + x**3 / 6 + x**5 / 120) / len(everyone)
    features = torch.where(odd[None].bool() & (signs[:, None] < 0), -1.0, 1.0).double().prod(-1)
    shapley = (2 / odd.sum(1))[None] * odd.T
    covariance = features * variances @ features.T
    g = torch.randn(len(signs), 2, generator=generator, dtype=torch.float64)
    expected = (shapley * variances) @ features.T @ torch.linalg.solve(covariance, g)
    phi, residual = krige(seen, torch.zeros(len(seen)).double(), rho, g)
    # Terms above the fifth order are left out of Cov(φ, g).
    assert torch.allclose(phi, expected, rtol=0.02, atol=0.02 * float(expected.abs().max()))
    for left in range(len(seen)):
        kept = [at for at in range(len(signs)) if at != left]
        guess = covariance[left, kept] @ torch.linalg.solve(covariance[kept][:, kept], g[kept])
        assert torch.allclose(residual[left], g[left] - guess, atol=1e-4)
        only = torch.zeros(len(seen), dtype=torch.float64)
        only[left] = 1
        without, _ = krige(seen, only, rho, g)
        expected, _ = krige(seen[[at for at in kept if at < len(seen)]], only[1:] * 0, rho, g[kept])
        assert torch.allclose(without, expected, atol=1e-4)


def test_the_prior_follows_the_shares():
    shares = torch.tensor([[4.0, 3.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]], dtype=torch.float64)[..., None]
    labels = torch.arange(10).roll(-1)[None]
    sizes = sizes_by_label(shares, labels)
    assert (sizes_by_label(10 * shares, labels) == sizes).all()
    own = prior(sizes)
    assert float(own.sum()) == pytest.approx(REACH)
    assert own[1] > own[2] > own[4] > own[3] == own[0]
    tiers = prior(sizes.repeat(2, 1))
    assert float(tiers.sum()) == pytest.approx(REACH)
    assert tiers[1] == tiers[2] > tiers[0]
