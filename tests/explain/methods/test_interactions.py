"""Shapley interaction values against their definition, written out subset by subset, and their axioms."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch
from torch import nn

from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact

PLAYERS, ROWS = 5, 2


class Mixed(nn.Module):
    """Players 0 and 1 are used alike, player 4 not at all."""

    def forward(self, x):
        pair = (x[:, 0] + x[:, 1]).square() + x[:, 0] * x[:, 1] * x[:, 2]
        return torch.stack([pair + torch.tanh(x[:, 2] * x[:, 3]), x[:, 0] + 2 * x[:, 1] + 3 * x[:, 3]], 1)


@pytest.fixture(scope="module")
def game():
    generator = torch.Generator().manual_seed(3)
    background = torch.randn(7, PLAYERS, generator=generator, dtype=torch.float64)
    background[:, 1] = background[:, 0]
    rows = torch.randn(ROWS, PLAYERS, generator=generator, dtype=torch.float64)
    rows[:, 1] = rows[:, 0]
    network = Network(Mixed().eval(), ("x",))
    method = Exact(network, {"x": background}, Players.elements({"x": (PLAYERS,)}))
    outputs = torch.arange(2).expand(ROWS, 2)
    return background, rows, method.explain({"x": rows}, outputs, Limits(interactions=True))


def brute_force(background, row, output):
    """The matrix of one row, from the definition of Grabisch and Roubens."""

    def value(subset):
        mixed = background.clone()
        mixed[:, list(subset)] = row[list(subset)]
        return float(Mixed()(mixed)[:, output].mean())

    found = np.zeros((PLAYERS, PLAYERS))
    for i in range(PLAYERS):
        others = [p for p in range(PLAYERS) if p != i]
        total = 0.0
        for size in range(PLAYERS):
            weight = factorial(size) * factorial(PLAYERS - size - 1) / factorial(PLAYERS)
            total += weight * sum(value({*s, i}) - value(set(s)) for s in combinations(others, size))
        for j in others:
            rest = [p for p in others if p != j]
            for size in range(PLAYERS - 1):
                weight = factorial(size) * factorial(PLAYERS - size - 2) / factorial(PLAYERS - 1)
                found[i, j] += weight / 2 * sum(
                    value({*s, i, j}) - value({*s, i}) - value({*s, j}) + value(set(s))
                    for s in combinations(rest, size)
                )  # fmt: skip
        found[i, i] = total - found[i].sum()
    return found


def test_the_matrix_is_that_of_the_definition(game):
    background, rows, found = game
    for row in range(ROWS):
        for output in range(2):
            right = brute_force(background, rows[row], output)
            np.testing.assert_allclose(found.interactions[row, output], right, atol=1e-10)


def test_rows_sum_to_the_attributions_and_all_to_the_effect(game):
    _, _, found = game
    torch.testing.assert_close(found.interactions.sum(-1), found.values)
    effect = found.predictions - found.base_values
    torch.testing.assert_close(found.interactions.sum((-1, -2)), effect)


def test_players_used_alike_interact_alike_and_an_unused_one_not_at_all(game):
    _, _, found = game
    pairs = found.interactions[:, 0]
    torch.testing.assert_close(pairs, pairs.mT)
    torch.testing.assert_close(pairs[:, 0, 2:], pairs[:, 1, 2:])
    torch.testing.assert_close(pairs[:, 0, 0], pairs[:, 1, 1])
    assert pairs[:, 4].abs().max() < 1e-12


def test_a_sum_of_functions_of_one_player_has_no_interactions(game):
    _, _, found = game
    linear = found.interactions[:, 1]
    assert (linear - torch.diag_embed(linear.diagonal(dim1=-2, dim2=-1))).abs().max() < 1e-12


def test_one_player_has_a_main_effect_alone():
    network = Network(nn.Linear(1, 1).eval(), ("x",))
    method = Exact(network, {"x": torch.randn(4, 1)}, Players.elements({"x": (1,)}))
    found = method.explain({"x": torch.ones(1, 1)}, torch.zeros(1, 1, dtype=torch.int64), Limits(interactions=True))
    assert found.interactions is not None
    torch.testing.assert_close(found.interactions[..., 0], found.values)


def test_without_a_request_there_are_none(game):
    network = Network(nn.Linear(2, 1).eval(), ("x",))
    method = Exact(network, {"x": torch.randn(4, 2)}, Players.elements({"x": (2,)}))
    found = method.explain({"x": torch.ones(1, 2)}, torch.zeros(1, 1, dtype=torch.int64), Limits())
    assert found.interactions is None
