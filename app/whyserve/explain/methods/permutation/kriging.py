"""What the guide leaves over, by kriging with the coalitions of one design. docs/sampling.md derives the formulas.

A game of P players is a polynomial in s, one ±1 per player: v(s) = Σ_T c_T Π_{p∈T} s_p. Shapley values depend only on
its odd part, g(S) = (v(S) − v(complement of S)) / 2. This is why coalitions are evaluated in complementary pairs.

The prior assumes that the coefficients c_T are independent. The variance of c_T is the product
of a τ for each player of T, so it is large where the guide's shares are (kriging: Krige 1951, Matheron 1963; Gaussian
processes for Shapley values: Chau et al. 2023).
"""

import torch
from numpy.polynomial.legendre import leggauss

# Σ_p ρ_p, for τ = tanh ρ. With 2, effects of 1, 3 and 5 players have about 55, 37 and 7 % of the variance of g.
REACH = 2.0
# The nugget, relative to the variance of g: rounding errors of the network are not interpolated.
NUGGET = 1e-7
# Gauss-Legendre quadrature over 0 … 1: exact up to effects of 16 players.
NODES = [((1 + x) / 2, w / 2) for x, w in zip(*(part.tolist() for part in leggauss(8)), strict=True)]


def krige(present: torch.Tensor, weight: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Matrices that map g, (M + 1,), to the leave-one-out posterior mean of φ, (P,), and to the residuals, (M,).

    The last g is that of the full coalition, which needs no network row. present: (M, P) bool. weight: (M,): each
    posterior leaves one coalition out, and their mean has these weights. sizes: (P,), in proportion to the expected
    effects of the players.
    """
    rho = REACH / len(sizes) * sizes / sizes.mean()
    signs = torch.cat([torch.where(present, 1.0, -1.0).double(), rho.new_ones(1, len(rho))])
    covariance = ((signs * rho) @ signs.T).sinh()
    covariance.diagonal().add_(NUGGET * float(covariance[-1, -1]))
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    residuals = (inverse / inverse.diagonal()[:, None])[:-1]
    posterior = _cross_covariance(signs, rho) @ inverse
    # Without its own g, a coalition has the value that the others predict: g less the residual.
    return posterior - (posterior[:, :-1] * weight) @ residuals, residuals


def _cross_covariance(signs: torch.Tensor, rho: torch.Tensor) -> torch.Tensor:
    """Cov(φ, g), (P, M), at `signs`, (M, P), with φ_p = Σ_{T∋p} 2 c_T / |T|, up to the factor Π cosh ρ.

    For z = τ s, Cov(φ_p, g(s)) = 2 z_p ∫ E(u) du over 0 … 1, where E is the even part of Π (1 + u z_q) over the other
    players q: the power u^(|T| − 1) integrates to 1 / |T|.
    """
    z = rho.tanh() * signs
    even = torch.zeros_like(z)
    for node, weight in NODES:
        for factors in (1 + node * z, 1 - node * z):
            even += weight / 2 * factors.prod(1, keepdim=True) / factors
    scale: torch.Tensor = 2 * rho.cosh().log().sum().exp() * (z * even).T
    return scale
