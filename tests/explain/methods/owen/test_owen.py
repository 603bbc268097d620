"""Owen values against their definition, against shap, and against what must hold for any tree."""

from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
import shap
import torch

from tests.explain.zoo.case import Lambda
from whyserve.errors import TooManyPlayers
from whyserve.explain.game.base import Limits, Stopped
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.owen.owen import MOST_PLAYERS, Owen
from whyserve.model.hierarchy import Tree

GENERATOR = torch.Generator().manual_seed(0)
OUTPUTS = torch.tensor([[0, 1]])
TREES: dict[str, list[Any]] = {
    "two levels": [("a", [0, 1, 2]), ("b", [3, 4]), 5],
    "three levels": [("a", [0, ("b", [1, 2])]), ("c", [("d", [3, 4]), 5])],
    "a chain": [0, ("a", [1, ("b", [2, ("c", [3, ("d", [4, 5])])])])],
    "a group of one": [("a", [0]), ("b", [("c", [1, 2]), 3]), 4, 5],
    "one group of all": [("a", [0, 1, 2, 3, 4, 5])],
    "flat": [0, 1, 2, 3, 4, 5],
}


def drawn(*shape):
    return torch.randn(*shape, generator=GENERATOR, dtype=torch.float64)


FIRST, LAST = drawn(6, 8), drawn(8, 2)
NETWORK = Network(Lambda(lambda _, x: torch.tanh(x @ FIRST) @ LAST), ("x",))
BACKGROUND, ROWS = drawn(5, 6), drawn(2, 6)


def made(tree, network=NETWORK, background=BACKGROUND):
    count = background.shape[1]
    players = Players(count, {"x": torch.arange(count)}, lambda _: Tree.of(list(map(str, range(count))), tree))
    return Owen(network, {"x": background}, players)


def orders(nodes):
    """All orders of the players in which those of each group are neighbours."""
    inside = [[[node]] if isinstance(node, int) else list(orders(node[1])) for node in nodes]
    for order in permutations(range(len(nodes))):
        for chosen in product(*inside):
            yield [player for place in order for player in chosen[place]]


def defined(tree, row=ROWS[:1], network=NETWORK, background=BACKGROUND):
    """The mean marginal contribution of each player over all those orders, (K, P)."""
    count, known = row.shape[1], {}

    def value(members):
        key = frozenset(members)
        if key not in known:
            inside = torch.zeros(count, dtype=torch.bool)
            inside[list(members)] = True
            known[key] = network({"x": torch.where(inside, row, background)}).double().mean(0)
        return known[key]

    total, number = torch.zeros(count, 2, dtype=torch.float64), 0
    for order in orders(tree):
        number += 1
        for place, player in enumerate(order):
            total[player] += value(order[: place + 1]) - value(order[:place])
    return (total / number).T


@pytest.mark.parametrize("name", TREES)
def test_small_trees_are_exact(name):
    found = made(TREES[name]).explain({"x": ROWS[:1]}, OUTPUTS, Limits())
    torch.testing.assert_close(found.values[0], defined(TREES[name]), atol=1e-9, rtol=0)
    assert found.residuals.abs().max() < 1e-12
    assert found.standard_errors.max() < 1e-6


def test_a_flat_tree_has_the_shapley_values():
    players = Players.elements({"x": (6,)})
    found = Owen(NETWORK, {"x": BACKGROUND}, players).explain({"x": ROWS}, OUTPUTS.expand(2, 2), Limits())
    exact = Exact(NETWORK, {"x": BACKGROUND}, players).explain({"x": ROWS}, OUTPUTS.expand(2, 2), Limits())
    torch.testing.assert_close(found.values, exact.values, atol=1e-9, rtol=0)
    assert found.trees is not None
    assert found.trees[0].described([0.0] * 6, []) == []


@pytest.mark.slow  # shap compiles its code
def test_shap_has_the_same_values_for_a_binary_tree():
    linked = np.array([[0, 1, 1, 2], [2, 3, 1, 2], [7, 4, 2, 3], [6, 8, 3, 5], [9, 5, 4, 6]], float)
    tree = [("r", [("a", [0, 1]), ("b", [("c", [2, 3]), 4])]), 5]
    masker = shap.maskers.Partition(BACKGROUND.numpy(), clustering=linked)
    explainer = shap.PartitionExplainer(lambda x: NETWORK({"x": torch.from_numpy(x)}).numpy(), masker)
    theirs = explainer(ROWS[:1].numpy(), max_evals=10_000, silent=True).values[0].T
    ours = made(tree).explain({"x": ROWS[:1]}, OUTPUTS, Limits()).values[0]
    assert np.abs(ours.numpy() - theirs).max() < 1e-9
    assert np.abs(ours.numpy() - defined(tree).numpy()).max() < 1e-9


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("sampled", [False, True], ids=["exact", "sampled"])
def test_every_group_adds_up_and_has_its_value_in_the_quotient_game(name, sampled, monkeypatch):
    """A group of the first level has the value of one player that stands for it, with the others as they are."""
    if sampled:
        monkeypatch.setattr("whyserve.explain.methods.owen.owen.MOST_COALITIONS", 0)
    method = made(TREES[name])
    found = method.explain({"x": ROWS[:1]}, OUTPUTS, Limits(samples=2000))
    assert found.residuals.abs().max() < 1e-9
    nodes = TREES[name]
    membership = torch.zeros(6, dtype=torch.int64)
    for number, node in enumerate(nodes):
        for order in [next(orders([node]))]:
            membership[order] = number
    quotient = Exact(NETWORK, {"x": BACKGROUND}, Players(len(nodes), {"x": membership}))
    whole = quotient.explain({"x": ROWS[:1]}, OUTPUTS, Limits()).values[0]
    summed = torch.zeros_like(whole).index_add_(1, membership, found.values[0])
    assert (summed - whole).abs().max() < (0.02 if sampled else 1e-9)
    if sampled:
        assert (found.values[0] - defined(nodes)).abs().max() < 0.02


def test_equal_siblings_share_and_players_without_effect_get_nothing():
    """y is a function of x0 + x1, which are siblings, and of x2 · x4; x3 and x5 have no effect."""
    network = Network(
        Lambda(lambda _, x: torch.stack([(x[:, 0] + x[:, 1]).sin() * x[:, 2], x[:, 2] * x[:, 4]], 1)), ("x",)
    )
    background = torch.zeros(3, 6, dtype=torch.float64)
    background[:, 2] = torch.tensor([1.0, 2.0, 3.0])
    method = made([("a", [0, 1]), ("b", [2, 3]), ("c", [4, 5])], network, background)
    found = method.explain({"x": torch.ones(1, 6, dtype=torch.float64)}, OUTPUTS, Limits()).values[0]
    torch.testing.assert_close(found[:, 0], found[:, 1])
    assert found[0, 0].abs() > 0.1
    assert found[:, [3, 5]].abs().max() < 1e-12


def wide(count=40):
    """A network of many players in groups of four, whose tree is too large for all coalitions."""
    first, last = drawn(count, 12) / count**0.5, drawn(12, 2)
    network = Network(Lambda(lambda _, x: torch.tanh(2 * x @ first) @ last), ("x",))
    tree = [(f"g{at}", list(range(at, at + 4))) for at in range(0, count, 4)]
    return made(tree, network, drawn(8, count)), {"x": drawn(3, count)}, torch.tensor([[0, 1]] * 3)


def test_sampled_values_are_near_and_their_errors_are_honest():
    method, rows, outputs = wide()
    truth = method.explain(rows, outputs, Limits(samples=400, seed=99)).values
    inside, near = [], []
    for seed in range(8):
        found = method.explain(rows, outputs, Limits(samples=3, seed=seed))
        distance = (found.values - truth).abs()
        inside.append(distance <= 2.576 * found.standard_errors)
        near.append(distance.mean() / truth.abs().mean())
        assert found.residuals.abs().max() < 1e-9
    assert 0.96 < torch.stack(inside).double().mean() <= 1
    assert max(near) < 0.15
    assert found.group_errors.shape == (3, 2, 10)
    assert found.rows_evaluated == 3 * (8 * 3 * 2 * 39 + 1)


def test_a_row_has_the_same_values_in_any_batch_and_a_seed_of_its_own():
    method, rows, outputs = wide()
    together = method.explain(rows, outputs, Limits(samples=2, seed=5)).values
    alone = method.explain({"x": rows["x"][1:2]}, outputs[1:2], Limits(samples=2, seed=5)).values
    torch.testing.assert_close(alone, together[1:2], atol=1e-12, rtol=0)
    other = method.explain(rows, outputs, Limits(samples=2, seed=6)).values
    assert (other - together).abs().max() > 1e-6


def test_no_coalition_is_evaluated_twice():
    """A chain of six players has 2·(1 + 2 + 4 + 8 + 16) coalitions between none and all. Each is evaluated once."""
    found = made(TREES["a chain"]).explain({"x": ROWS[:1]}, OUTPUTS, Limits())
    assert found.rows_evaluated == 5 * 62 + 1


def test_a_stop_and_too_many_players_are_said():
    method, rows, outputs = wide()
    with pytest.raises(Stopped):
        method.explain(rows, outputs, Limits(on_progress=lambda _: False))
    many = MOST_PLAYERS + 1
    with pytest.raises(TooManyPlayers):
        Owen(NETWORK, {"x": torch.zeros(1, many)}, Players.elements({"x": (many,)}))


def test_one_player_gets_everything():
    network = Network(Lambda(lambda _, x: torch.cat([x.sin(), x], 1)), ("x",))
    method = Owen(network, {"x": drawn(3, 1)}, Players.elements({"x": (1,)}))
    found = method.explain({"x": ROWS[:1, :1]}, OUTPUTS, Limits())
    assert found.values.shape == (1, 2, 1)
    assert found.residuals.abs().max() < 1e-12


def pairs(members):
    """A tree of groups of two."""
    half = len(members) // 2
    return members[0] if half == 0 else (str(members), [pairs(members[:half]), pairs(members[half:])])


@pytest.mark.parametrize(
    ("slope", "most"), [(3.0, 0.5), (0.05, 1e-3)], ids=["contexts matter", "contexts matter little"]
)
def test_with_one_background_row_the_largest_groups_are_expanded_unless_contexts_matter_little(slope, most):
    first, last = drawn(32, 6), drawn(6, 2)
    network = Network(Lambda(lambda _, x: torch.tanh(slope * x @ first / 6) @ last), ("x",))
    method = made(pairs(list(range(32)))[1], network, drawn(1, 32))
    rows = {"x": drawn(1, 32)}
    truth = method.explain(rows, OUTPUTS, Limits(samples=100))
    assert truth.rows_evaluated == 682 + 1  # all coalitions of the tree
    found = method.explain(rows, OUTPUTS, Limits(samples=5))
    assert found.rows_evaluated <= 5 * 62 + 1
    assert found.residuals.abs().max() < 1e-9
    assert (found.values - truth.values).abs().mean() / truth.values.abs().mean() < most
    inside = (found.values - truth.values).abs() <= 3 * found.standard_errors
    assert inside.double().mean() > 0.8
