"""What the guide leaves over, by kriging with the coalitions of one design. docs/sampling.md derives the formulas.

A game of P players is a polynomial in s, one ±1 per player: v(s) = Σ_T c_T Π_{p∈T} s_p. Shapley values depend only on
its odd part, g(S) = (v(S) − v(complement of S)) / 2. This is why coalitions are evaluated in complementary pairs.

The prior assumes that the coefficients c_T of 1, 3 and 5 players are independent. The variance of c_T is the product
of a τ for each player of T, so it is large where the guide's shares are (kriging: Krige 1951, Matheron 1963; Gaussian
processes for Shapley values: Chau et al. 2023).
"""

import torch

from whyserve.explain.methods.permutation.design import tier_ends

# Σ_p ρ_p, for τ = tanh ρ. With 2, effects of 1, 3 and 5 players have about 55, 37 and 7 % of the variance of g.
REACH = 2.0
# A player's share counts as at least this share of the mean over the players.
FLOOR = 0.05
# The nugget, relative to the variance of g: rounding errors of the network are not interpolated.
NUGGET = 1e-7


def sizes_by_label(shares: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """(B, P): the size of the guide's share of each label, relative to the mean over labels.

    shares: (B, P, K). labels: (B, P), the labels of the players. The outputs have it in common, so that one Cholesky
    factor serves all of them.
    """
    size = (shares.abs() / shares.abs().mean((0, 1)).clamp_min(1e-300)).mean(-1) + 1e-12
    size = FLOOR + (1 - FLOOR) * size / size.mean(1, keepdim=True)
    return torch.zeros_like(size).scatter_(1, labels, size)


def prior(sizes: torch.Tensor) -> torch.Tensor:
    """ρ, (P,) by label, of a design for b background rows. sizes: (b, P), their lines of `sizes_by_label`.

    Background rows that share a design have random labels within a tier, so the labels of a tier have one ρ.
    """
    mean = sizes.mean(0)
    if len(sizes) > 1:
        tiers = mean.tensor_split(tier_ends(len(mean))[:-1])
        mean = torch.cat([tier.mean().expand(len(tier)) for tier in tiers])
    return REACH / len(mean) * mean


def krige(
    present: torch.Tensor, weight: torch.Tensor, rho: torch.Tensor, g: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """The leave-one-out posterior mean of φ, (P, X), and the leave-one-out residuals, (M, X), for X games.

    Each posterior leaves one coalition out; their mean has the weights `weight`, (M,). present: (M, P) bool.
    g: (M + 1, X), at the coalitions and at the full coalition, whose g needs no network row.
    """
    signs = torch.cat([torch.where(present, 1.0, -1.0).double(), g.new_ones(1, len(rho))])
    covariance = _odd_exponential((signs * rho) @ signs.T)
    covariance.diagonal().add_(NUGGET * float(covariance[-1, -1]))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    weights = inverse @ g
    residuals = (weights / inverse.diagonal()[:, None])[:-1]
    # Without its own g, a coalition has the value that the others predict: g less the residual.
    left_out = inverse[:, :-1] @ (weight[:, None] * residuals)
    return _cross_covariance(signs, rho, weights - left_out), residuals


def _odd_exponential(x: torch.Tensor) -> torch.Tensor:
    """sinh x up to the fifth power: Σ_T τ_T Π s_p t_p over odd T, up to the factor Π cosh ρ, for x = Σ ρ_p s_p t_p."""
    square = x * x
    return x * (1 + square / 6 * (1 + square / 20))


def _cross_covariance(signs: torch.Tensor, rho: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Cov(φ, g) weights, (P, X), at `signs`, (M, P), with φ_p = Σ_{T∋p} 2 c_T / |T|, up to the factor Π cosh ρ.

    Cov(φ_p, g(s)) = 2 z_p (1 + e₂/3 + e₄/5), for the elementary symmetric polynomials e of z = τ s of the other
    players. Newton's identities give them from those of all players, f, and from z_p² = τ_p².
    """
    tau = rho.tanh()
    square = tau.square()
    p1, p2, p3, p4 = signs @ tau, square.sum(), signs @ (tau * square), square.square().sum()
    f2 = (p1 * p1 - p2) / 2
    f3 = (f2 * p1 - p1 * p2 + p3) / 3
    f4 = (f3 * p1 - f2 * p2 + p1 * p3 - p4) / 4
    # e₂ = f₂ + τ² − z p₁ and e₄ = f₄ − z f₃ + τ² (f₂ + τ² − z p₁): the powers of z = τ s are even or odd.
    rows = torch.cat([(1 + f2 / 3 + f4 / 5)[:, None] * weights, weights, f2[:, None] * weights], 1)
    whole, plain, second = (signs.T @ rows).chunk(3, 1)
    square = square[:, None]
    odd = whole + square * (plain / 3 + second / 5 + square * plain / 5)
    even = (p1 / 3 + f3 / 5) @ weights + square * (p1 @ weights) / 5
    scale: torch.Tensor = 2 * rho.cosh().log().sum().exp() * (tau[:, None] * odd - square * even)
    return scale
