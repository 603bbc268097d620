import torch

from whyserve.explain.game.coalitions import coalitions
from whyserve.explain.methods.permutation.kriging import REACH, krige


def test_kriging_is_the_posterior_mean_of_the_priors_games():
    """Compared with the posterior mean that follows from the prior's coefficients, written out for 5 players."""
    players, generator = 5, torch.Generator().manual_seed(0)
    sizes = torch.tensor([0.9, 0.5, 0.3, 0.2, 0.1], dtype=torch.float64)
    rho = REACH * sizes / sizes.sum()
    everyone = coalitions(players)
    odd = everyone[everyone.sum(1) % 2 == 1].double()
    seen = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 0, 1]], dtype=torch.bool)
    signs = torch.cat([torch.where(seen, 1.0, -1.0), torch.ones(1, players)]).double()
    signs_of_all = torch.where(everyone, 1.0, -1.0).double()
    x = signs_of_all @ rho
    characters = torch.where(odd[None].bool() & ~everyone[:, None], -1.0, 1.0).double().prod(-1)
    variances = characters.T @ x.sinh() / len(everyone)
    features = torch.where(odd[None].bool() & (signs[:, None] < 0), -1.0, 1.0).double().prod(-1)
    shapley = (2 / odd.sum(1))[None] * odd.T
    covariance = features * variances @ features.T
    g = torch.randn(len(signs), 2, generator=generator, dtype=torch.float64)
    expected = (shapley * variances) @ features.T @ torch.linalg.solve(covariance, g)
    posterior, left_out = krige(seen, torch.zeros(len(seen)).double(), sizes)
    phi, residual = posterior @ g, left_out @ g
    assert torch.allclose(phi, expected, atol=1e-5 * float(expected.abs().max()))
    for left in range(len(seen)):
        kept = [at for at in range(len(signs)) if at != left]
        guess = covariance[left, kept] @ torch.linalg.solve(covariance[kept][:, kept], g[kept])
        assert torch.allclose(residual[left], g[left] - guess, atol=1e-4)
        only = torch.zeros(len(seen), dtype=torch.float64)
        only[left] = 1
        without, _ = krige(seen, only, sizes)
        expected, _ = krige(seen[[at for at in kept if at < len(seen)]], only[1:] * 0, sizes)
        assert torch.allclose(without @ g, expected @ g[kept], atol=1e-4)
