"""What the guide leaves over, by kriging with the coalitions of one design. docs/sampling.md derives the formulas.

A game of P players is a polynomial in s, one ±1 per player: v(s) = Σ_T c_T Π_{p∈T} s_p. Shapley values depend only on
its odd part, g(S) = (v(S) − v(complement of S)) / 2. This is why coalitions are evaluated in complementary pairs.

The prior assumes that the coefficients c_T of 1, 3 and 5 players are independent. The variance of c_T is the product
of a τ for each player of T, so it is large where the guide's shares are (kriging: Krige 1951, Matheron 1963; Gaussian
processes for Shapley values: Chau et al. 2023).
"""

import torch

# Σ_p ρ_p, for τ = tanh ρ. With 2, effects of 1, 3 and 5 players have about 55, 37 and 7 % of the variance of g.
REACH = 2.0
# The nugget, relative to the variance of g: rounding errors of the network are not interpolated.
NUGGET = 1e-7


def krige(present: torch.Tensor, weight: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices that map g, (M + 1,), to the leave-one-out posterior mean of φ, (P,), and to the residuals, (M,).

    The last g is that of the full coalition, which needs no network row. present: (M, P) bool. weight: (M,): each
    posterior leaves one coalition out, and their mean has these weights. sizes: (P,), in proportion to the expected
    effects of the players.
    """
    rho = REACH / len(sizes) * sizes / sizes.mean()
    signs = torch.cat([torch.where(present, 1.0, -1.0).double(), rho.new_ones(1, len(rho))])
    covariance = _odd_exponential((signs * rho) @ signs.T)
    covariance.diagonal().add_(NUGGET * float(covariance[-1, -1]))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    residuals = (inverse / inverse.diagonal()[:, None])[:-1]
    # Without its own g, a coalition has the value that the others predict: g less the residual.
    left_out = inverse[:, :-1] @ (weight[:, None] * residuals)
    return _cross_covariance(signs, rho, inverse - left_out), residuals


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
