"""The guide where `deep` has no rules: a guess of every player's share in every pair of rows, from sampled values.

A linear model is fitted to the values of the coalitions of the first round. It has two parts: an effect of each player
that all background rows have in common, and an effect in proportion to the change of the player from the background
row to the explained row. The guide need not be right: it says where the rest is large.
"""

from collections.abc import Callable

import torch

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.players import Players

# Steps of conjugate gradients.
STEPS = 12
# The ridge penalty, relative to the mean square of a coefficient's input.
RIDGE = 1e-3


def changes(players: Players, row: Inputs, background: Inputs) -> torch.Tensor:
    """(B, P) float64, scaled to a mean square of 1: how much each player changes from a background row to the row.

    Of a player with one number, it is the difference. Of a group, of an integer, or where one of the two numbers is
    missing, it is 1 if anything differs.
    """
    one = {name: torch.ones(index.shape, dtype=torch.float64) for name, index in players.membership.items()}
    numeric = {name: one[name] * float(background[name].is_floating_point()) for name in one}
    single = (players.collect(one) == 1) & (players.collect(numeric) == 1)
    difference = players.collect({name: row[name].double() - x.double() for name, x in background.items()})
    apart = {name: (row[name] != x) & ~(row[name].isnan() & x.isnan()) for name, x in background.items()}
    differs = players.collect({name: each.double() for name, each in apart.items()}) > 0
    change = torch.where(single & ~difference.isnan(), difference, differs.double())
    return change / change.square().mean(0).sqrt().clamp_min(1e-300)


def fit(g: torch.Tensor, present: torch.Tensor, background: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
    """The guide, (B, P, K) float64: the share of each player in each pair, by ridge regression.

    g: (N, K), the values of coalitions, (N, P) of 0 and 1, with background rows, (N,). change: (B, P), what `changes`
    gives. Single precision is enough: errors of the guide are corrected.
    """
    players, signs = present.shape[1], 2 * present - 1
    inputs = torch.cat([signs, signs * change.float()[background]], 1)
    size = g.square().mean(0).sqrt().clamp_min(1e-300)

    def apply(w: torch.Tensor) -> torch.Tensor:
        return inputs.T @ (inputs @ w) + RIDGE * len(inputs) * w

    w = conjugate_gradients(apply, inputs.T @ (g / size).float()).double() * size
    return 2 * (w[:players] + change[..., None] * w[players:])


def conjugate_gradients(apply: Callable[[torch.Tensor], torch.Tensor], target: torch.Tensor) -> torch.Tensor:
    """x of A x = target, both (…, K), for a positive definite A, which `apply` multiplies (Hestenes & Stiefel 1952)."""
    x, residual = torch.zeros_like(target), target
    direction, square = residual, residual.square().sum(0)
    for _ in range(STEPS):
        product = apply(direction)
        step = square / (direction * product).sum(0).clamp_min(1e-30)
        x, residual = x + step * direction, residual - step * product
        before, square = square, residual.square().sum(0)
        direction = residual + square / before.clamp_min(1e-30) * direction
    return x
