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
# Gauss-Legendre quadrature over −1 … 1: exact up to effects of 16 players.
NODES, NODE_WEIGHTS = (torch.tensor(part) for part in leggauss(8))


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

    For z = τ s, Cov(φ_p, g(s)) = z_p ∫ Π (1 + u z_q) du over −1 … 1, with the product over the other players q: the
    odd powers of u cancel, and u^(|T| − 1) gives 2 / |T|. Without player p, the product of all has a factor less.
    """
    tau = rho.tanh()[:, None]
    # log(1 + u z) = log(1 − (u τ)²) / 2 + s artanh(u τ). Π cosh ρ is in the logarithm too.
    u = tau * NODES
    constant = torch.log1p(-u.square()).sum(0) / 2 + rho.cosh().log().sum()
    product = torch.addmm(constant, signs, u.atanh()).exp_() * NODE_WEIGHTS
    member, other = (tau * (factor.reciprocal() @ product.T) for factor in (1 + u, 1 - u))
    return torch.where(signs.T > 0, member, -other)
