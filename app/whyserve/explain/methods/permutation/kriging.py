"""The best linear unbiased weights that turn the values of some coalitions into Shapley values.

A game of P players is a polynomial in s, one ±1 per player: v(s) = Σ_T c_T Π_{p∈T} s_p. Shapley values depend only on
its odd part, g(S) = (v(S) − v(complement of S)) / 2. This is why coalitions are evaluated in complementary pairs.

The estimate is φ̂ = A g. The prior assumes that the coefficients c_T of 3, 5, 7, … players are independent, with
variance ρ^|T|. A minimises the expected squared error under this prior (kriging: Krige 1951, Matheron 1963; Gaussian
processes for Shapley values: Chau et al. 2023). Constraints on A hold for every game, whatever the prior says:

- effects of one and two players are exact, and Σφ̂ = v(all) − v(none);
- averaged over all relabellings of the players, φ̂ is unbiased.
"""

from math import comb

import torch

# The highest order of interaction in the prior. Trained networks showed no effect of higher orders.
HIGHEST = 9
# ρ = SCALE / P. With ten players, order 5 then has about a tenth of the variance of order 3, as in trained networks.
SCALE = 2.0


class Prior:
    """Covariances of g and φ in a random game of P players.

    scale: ρP. A larger scale moves variance to higher orders.
    """

    def __init__(self, players: int, scale: float = SCALE) -> None:
        self.players = players
        self.orders = range(3, min(players, HIGHEST) + 1, 2)
        self.variances = [(scale / players) ** order for order in self.orders]
        self.all, self.others = krawtchouk(players), krawtchouk(players - 1)

    def coalition_covariance(self, signs: torch.Tensor) -> torch.Tensor:
        """(M, M), Cov(g, g) at the coalitions `signs`, (M, P) of ±1.

        Cov(g(s), g(t)) = Σ_k ρ^k Σ_{|T|=k} Π_{p∈T} s_p t_p. The inner sum depends only on the number of players in
        which s and t differ, and it is a Krawtchouk polynomial of that number.
        """
        distance = ((self.players - signs @ signs.T) / 2).round().long()
        total = torch.zeros(distance.shape, dtype=torch.float64)
        for k, var in zip(self.orders, self.variances, strict=True):
            total += var * self.all[k][distance]
        return total

    def cross_covariance(self, signs: torch.Tensor) -> torch.Tensor:
        """(P, M), Cov(φ, g) at the coalitions `signs`, with φ_p = Σ_{T∋p} 2 c_T / |T|.

        The sum over T ∋ p is s_p times a sum over the k − 1 other players of T.
        """
        negative = (signs < 0).long()
        others = (negative.sum(1, keepdim=True) - negative).T
        total = torch.zeros(others.shape, dtype=torch.float64)
        for k, var in zip(self.orders, self.variances, strict=True):
            total += 2 / k * var * self.others[k - 1][others]
        return total * signs.T

    def value_variance(self) -> float:
        """Σ_p Var φ_p."""
        pairs = zip(self.orders, self.variances, strict=True)
        return sum(comb(self.players, k) * k * (2 / k) ** 2 * var for k, var in pairs)


def krawtchouk(count: int) -> torch.Tensor:
    """Krawtchouk polynomials (Krawtchouk 1929), (HIGHEST + 1, count + 1).

    Row k, column m is the sum of the products of all k-subsets of `count` signs, of which m are −1.
    """
    lines = [
        [sum((-1) ** j * comb(m, j) * comb(count - m, k - j) for j in range(k + 1)) for m in range(count + 1)]
        for k in range(HIGHEST + 1)
    ]
    return torch.tensor(lines, dtype=torch.float64)


def with_full_coalition(signs: torch.Tensor) -> torch.Tensor:
    """(M + 1, P): the full coalition after the others. Its g is known without a network row."""
    return torch.cat([signs, torch.ones(1, signs.shape[1], dtype=torch.float64)])


def weights(signs: torch.Tensor, prior: Prior) -> torch.Tensor:
    """A, (P, M + 1), for the coalitions `signs`, (M, P) of ±1 with at most P/2 players each, and the full coalition.

    The coalitions, with the full one, must have rank P.
    """
    players = signs.shape[1]
    signs = with_full_coalition(signs)
    covariance = prior.coalition_covariance(signs)
    # With more coalitions than coefficients in the prior, the matrix is singular without a small diagonal (a nugget).
    covariance.diagonal().add_(1e-9 * float(covariance.diagonal().mean()) + 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    drift = inverse @ signs
    gram = signs.T @ drift

    def constrained(cross: torch.Tensor, effect: float) -> torch.Tensor:
        """Minimise a Σ aᵀ/2 − cross aᵀ for each row a of A, subject to A · signs = effect · I.

        g of a single effect c_p is c_p s_p, and its Shapley value is 2 c_p. With effect = 2, A is exact for single
        effects of any size. The Lagrange multipliers are the solution of a P × P system.
        """
        deficit = effect * torch.eye(players, dtype=torch.float64) - cross @ drift
        multipliers: torch.Tensor = torch.linalg.solve(gram, deficit, left=False)
        return cross @ inverse + multipliers @ drift.T

    operator = constrained(prior.cross_covariance(signs), 2.0)
    # Next, A is made unbiased. Each direction changes one of the constrained sums, keeps single effects exact, and
    # increases the expected error the least. lstsq accepts constraints that depend on each other.
    constraints, targets = _size_constraints(signs)
    directions = torch.stack([constrained(constraint, 0.0) for constraint in constraints])
    response = torch.einsum("apm,bpm->ab", constraints, directions)
    deficit = targets - torch.einsum("apm,pm->a", constraints, operator)
    steps = torch.linalg.lstsq(response, deficit, driver="gelsd").solution
    operator = operator + torch.einsum("a,apm->pm", steps, directions)
    # Efficiency: the columns must sum to 0, and the column of the full coalition to 2. The surplus is removed evenly
    # from all players, which does not change the expectation over relabellings.
    surplus = operator.sum(0)
    surplus[-1] -= 2
    efficient: torch.Tensor = operator - surplus / players
    return efficient


def _size_constraints(signs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The linear constraints that make A unbiased over relabellings: one per coalition size c ≤ P/2.

    Returns the constraints, (sizes, P, M + 1), and their targets, (sizes,): Σ_{p,m} constraint · A = target.
    In the Shapley value, each size of a coalition has the same total weight. Under a random relabelling, a coalition
    of size c represents all coalitions of that size, so only the sum of its weights over members matters.
    """
    players = signs.shape[1]
    sizes = (signs[:-1] > 0).sum(1)
    constraints, targets = [], []
    for size in sorted(set(sizes.tolist())):
        constraint = torch.zeros(players, len(signs), dtype=torch.float64)
        of_size = (sizes == size).nonzero()[:, 0]
        constraint[:, of_size] = (signs[of_size] > 0).double().T - size / players
        constraints.append(constraint)
        # A coalition of another size also stands for its complement, of size P − c.
        targets.append(1.0 if 2 * size == players else 2.0)
    return torch.stack(constraints), torch.tensor(targets, dtype=torch.float64)


def expected_squared_error(operator: torch.Tensor, signs: torch.Tensor, prior: Prior) -> float:
    """Σ_p E (φ̂_p − φ_p)² of φ̂ = A g under `prior`. operator: A, (P, M + 1)."""
    signs = with_full_coalition(signs)
    quadratic = torch.einsum("pm,mn,pn->", operator, prior.coalition_covariance(signs), operator)
    return float(quadratic - 2 * (operator * prior.cross_covariance(signs)).sum()) + prior.value_variance()
