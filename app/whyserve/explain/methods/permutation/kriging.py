"""The best linear unbiased weights that turn a game's values at some coalitions into its Shapley values.

A game on P players is a polynomial in s, one ±1 a player: v(s) = Σ_T c_T Π_{p∈T} s_p. Shapley values see its odd
part alone, g(S) = (v(S) − v(complement)) / 2, which is why coalitions come in complementary pairs. Here φ̂ = A g,
with A the weights of least expected squared error when the c_T of 3, 5, 7, … players are independent with variance
ρ^|T| (kriging: Krige 1951, Matheron 1963; for Shapley values, Gaussian processes as in Chau et al. 2023), under
constraints that hold whatever the game is:

- a game of one- and two-player effects comes out exactly, and Σφ̂ = v(all) − v(none);
- over a uniformly random renaming of the players A is unbiased for every game.
"""

from math import comb

import torch

# Highest order of interaction with a variance of its own: past it there is nothing to see, measured on trained nets.
HIGHEST = 9
# ρ = REACH / P. Order 5 then has about a tenth of order 3's variance at ten players, as trained networks have.
REACH = 2.0


class Prior:
    """What is expected of a game of P players: the covariances of g and φ.

    reach: ρP; the larger, the more of the variance lies in high orders.
    """

    def __init__(self, players: int, reach: float = REACH) -> None:
        self.players = players
        self.orders = range(3, min(players, HIGHEST) + 1, 2)
        self.variances = [(reach / players) ** order for order in self.orders]
        self.all, self.others = krawtchouk(players), krawtchouk(players - 1)

    def of_coalitions(self, signs: torch.Tensor) -> torch.Tensor:
        """(M, M) covariance of g at `signs`, (M, P) of ±1."""
        apart = ((self.players - signs @ signs.T) / 2).round().long()
        total = torch.zeros(apart.shape, dtype=torch.float64)
        for k, var in zip(self.orders, self.variances, strict=True):
            total += var * self.all[k][apart]
        return total

    def with_values(self, signs: torch.Tensor) -> torch.Tensor:
        """(P, M) covariance of φ_p = Σ_{T∋p} 2 c_T / |T| with g at `signs`."""
        minus = (signs < 0).long()
        others = (minus.sum(1, keepdim=True) - minus).T
        total = torch.zeros(others.shape, dtype=torch.float64)
        for k, var in zip(self.orders, self.variances, strict=True):
            total += 2 / k * var * self.others[k - 1][others]
        return total * signs.T

    def of_values(self) -> float:
        """Σ_p Var φ_p."""
        pairs = zip(self.orders, self.variances, strict=True)
        return sum(comb(self.players, k) * k * (2 / k) ** 2 * var for k, var in pairs)


def krawtchouk(count: int) -> torch.Tensor:
    """(HIGHEST + 1, count + 1): line k, column m is the sum of all products of k of `count` signs, m of them −1."""
    lines = [
        [sum((-1) ** j * comb(m, j) * comb(count - m, k - j) for j in range(k + 1)) for m in range(count + 1)]
        for k in range(HIGHEST + 1)
    ]
    return torch.tensor(lines, dtype=torch.float64)


def weights(signs: torch.Tensor, prior: Prior) -> torch.Tensor:
    """A, (P, M + 1), for coalitions `signs`, (M, P) of ±1 with at most P/2 of +1; the last column is for all players.

    `signs` and the full coalition together must have rank P.
    """
    players = signs.shape[1]
    seen = torch.cat([signs, torch.ones(1, players, dtype=torch.float64)])
    covariance = prior.of_coalitions(seen)
    # Without a nugget the matrix is singular once there are more coalitions than coefficients.
    covariance.diagonal().add_(1e-9 * float(covariance.diagonal().mean()) + 1e-12)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(covariance))
    drift = inverse @ seen
    gram = seen.T @ drift

    def settle(cross: torch.Tensor, exactly: float) -> torch.Tensor:
        # Lagrange multipliers of A seen = exactly · I: single effects come out as they are, however large.
        lack = exactly * torch.eye(players, dtype=torch.float64) - cross @ drift
        mend: torch.Tensor = torch.linalg.solve(gram, lack, left=False)
        return cross @ inverse + mend @ drift.T

    best = settle(prior.with_values(seen), 2.0)
    members, sums = _memberships(seen)
    moves = torch.stack([settle(member, 0.0) for member in members])
    effect = torch.einsum("apm,bpm->ab", members, moves)
    lack = sums - torch.einsum("apm,pm->a", members, best)
    best = best + torch.einsum("a,apm->pm", torch.linalg.lstsq(effect, lack, driver="gelsd").solution, moves)
    # Efficiency: what the others' columns add to the sum is spread evenly, which changes no expectation.
    surplus = best.sum(0)
    surplus[-1] -= 2
    even: torch.Tensor = best - surplus / players
    return even


def _memberships(seen: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What makes A unbiased under renaming, one line a size c ≤ P/2: Σ of A over who is in a coalition of size c.

    (sizes, P, M + 1) and (sizes,). A player in S gains what S is worth above its complement, with equal weight for
    each size; renamed at random, a coalition of size c stands for all of them.
    """
    players = seen.shape[1]
    sizes = (seen[:-1] > 0).sum(1)
    members, sums = [], []
    for size in sorted(set(sizes.tolist())):
        member = torch.zeros(players, len(seen), dtype=torch.float64)
        chosen = (sizes == size).nonzero()[:, 0]
        member[:, chosen] = (seen[chosen] > 0).double().T - size / players
        members.append(member)
        sums.append(1.0 if 2 * size == players else 2.0)
    return torch.stack(members), torch.tensor(sums, dtype=torch.float64)


def expected_error(of: torch.Tensor, signs: torch.Tensor, prior: Prior) -> float:
    """Σ_p E (φ̂_p − φ_p)² of weights (P, M + 1) under `prior`."""
    seen = torch.cat([signs, torch.ones(1, signs.shape[1], dtype=torch.float64)])
    spent = torch.einsum("pm,mn,pn->", of, prior.of_coalitions(seen), of)
    return float(spent - 2 * (of * prior.with_values(seen)).sum()) + prior.of_values()
