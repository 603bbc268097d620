"""The axioms of Shapley values on partitions of every kind, and held inputs."""

from functools import partial
from itertools import combinations
from math import factorial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.model.test_players import IMAGE, SERIES, SPANS, TEXT, spec_of
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.models.row_games import RowGames, game_background, game_players, preparer
from whyserve.model.players import Partition

PICTURE = {**IMAGE, "shape": [4, 4, 2]}
SPEC = spec_of(PICTURE, SERIES, TEXT)
METHODS = ("exact", "permutation", "kernel", "deep", "gradient", "owen")


class Mixed(nn.Module):
    """A smooth network of a picture, a series and a text of ids, in which all parts interact."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        draw = partial(torch.randn, generator=generator)
        self.word = nn.Embedding.from_pretrained(draw(9, 3))
        self.first = nn.Parameter(draw(32 + 10 + 18, 8) / 6)
        self.last = nn.Parameter(draw(8, 2))

    def forward(self, image, past, t):
        whole = torch.cat([image.flatten(1), past.flatten(1), self.word(t).flatten(1)], 1)
        return torch.tanh(whole @ self.first) @ self.last


def rows(count, seed):
    rng = np.random.default_rng(seed)
    return {
        "image": torch.from_numpy(rng.normal(size=(count, 4, 4, 2)).astype(np.float32)),
        "past": torch.from_numpy(rng.normal(size=(count, 5, 2)).astype(np.float32)),
        "t": torch.from_numpy(rng.integers(0, 9, size=(count, 6))),
    }


NETWORK = Network(Mixed().eval().requires_grad_(False), ("image", "past", "t"))
BACKGROUND, ROW = rows(5, 0), rows(1, 1)
ONE = {name: x[0].numpy() for name, x in ROW.items()}
OUTPUTS = torch.tensor([[0, 1]])
SMALL = {"groups": {"text": ["t"]}}
PARTITIONS: dict[str, dict[str, Any]] = {
    "patches and windows": {"image": {"patches": [2, 1]}, "past": {"windows": 2}, **SMALL},
    "patches of channels": {"image": {"patch": [4, 2], "channels": True}, "past": {"channels": ["a", "b"]}, **SMALL},
    "mask": {"image": {"mask": [[0, 0, 1, 1]] * 4}, "past": {"windows": 1}, **SMALL},
    "superpixels": {"image": {"superpixels": 3}, "past": {"windows": 1}, **SMALL},
    "words": {"image": {"patches": [1, 1]}, "past": {"windows": 1}, "t": {"words": True}},
    "tokens": {"image": {"patches": [1, 1]}, "hold": ["past"], "t": {"tokens": True}},
    "blur": {"image": {"patches": [2, 1], "absent": "blur"}, "past": {"windows": 2, "absent": 0.5}, "hold": ["t"]},
    "mean": {"image": {"patches": [2, 2], "absent": "mean"}, "past": {"windows": 1}, **SMALL},
    "axis": {"image": {"axis": 0, "groups": {"top": [0, 1]}}, "past": {"windows": 1}, **SMALL},
    "across": {"groups": {"all": ["image", "t"]}, "past": {"window": 1}},
}


def explained(method, wanted, network=NETWORK):
    partition = Partition(SPEC, wanted)
    players = partition.of(ONE, {"t": SPANS})
    games = RowGames(preparer(method, network, BACKGROUND, SPEC), SPEC.inputs, BACKGROUND, partition, [players])
    return games.explain(ROW, OUTPUTS, Limits(samples=64 if method != "kernel" else 2000)), players


def enumerated(wanted, network=NETWORK):
    """Shapley values by their definition, straight from the mixes of rows."""
    partition = Partition(SPEC, wanted)
    players = partition.of(ONE, {"t": SPANS})
    background = game_background(SPEC.inputs, BACKGROUND, ROW, players, partition)
    membership = game_players(players).membership
    everyone = range(players.count)

    def value(coalition):
        inside = torch.zeros(players.count, dtype=torch.bool)
        inside[list(coalition)] = True
        mixed = {name: torch.where(inside[membership[name]], ROW[name], x) for name, x in background.items()}
        return network(mixed).double().mean(0)

    total = torch.zeros(players.count, 2, dtype=torch.float64)
    for player in everyone:
        others = [each for each in everyone if each != player]
        for size in range(players.count):
            weight = factorial(size) * factorial(players.count - size - 1) / factorial(players.count)
            for coalition in combinations(others, size):
                total[player] += weight * (value((*coalition, player)) - value(coalition))
    return total.T


@pytest.mark.parametrize("name", PARTITIONS)
def test_exact_values_are_those_of_the_definition(name):
    found, _ = explained("exact", PARTITIONS[name])
    torch.testing.assert_close(found.values[0], enumerated(PARTITIONS[name]), atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", PARTITIONS)
@pytest.mark.parametrize("method", METHODS)
def test_efficiency_on_every_partition(name, method):
    found, players = explained(method, PARTITIONS[name])
    assert found.values.shape == (1, 2, players.count)
    assert found.residuals.abs().max() < (1e-5 if method != "gradient" else 1e-3)
    torch.testing.assert_close(found.predictions, NETWORK(ROW).double())


@pytest.mark.parametrize("name", PARTITIONS)
def test_additivity_and_null_players_on_every_partition(name):
    class OnlyPast(nn.Module):
        def forward(self, image, past, t):
            return torch.stack([past.square().sum((1, 2)).sin(), past.amax((1, 2))], 1)

    class Sum(nn.Module):
        def forward(self, image, past, t):
            return NETWORK.module(image, past, t) + OnlyPast()(image, past, t)

    past = Network(OnlyPast(), NETWORK.names)
    of_past, players = explained("exact", PARTITIONS[name], past)
    together, _ = explained("exact", PARTITIONS[name], Network(Sum(), NETWORK.names))
    alone, _ = explained("exact", PARTITIONS[name])
    torch.testing.assert_close(together.values, alone.values + of_past.values, atol=1e-5, rtol=0)
    moving = set(players.numbers["past"].ravel().tolist())
    null = [player for player in range(players.count) if player not in moving]
    assert null
    assert of_past.values[..., null].abs().max() < 1e-7


def test_symmetric_patches_have_equal_attributions():
    class Total(nn.Module):
        def forward(self, image, past, t):
            return torch.stack([image.sum((1, 2, 3)).sin(), image.sum((1, 2, 3))], 1)

    partition = Partition(SPEC, {"image": {"patches": [2, 2], "absent": 0}, "hold": ["past", "t"]})
    same = {**ROW, "image": torch.full((1, 4, 4, 2), 0.1)}
    for method in METHODS:
        prepare = preparer(method, Network(Total(), NETWORK.names), BACKGROUND, SPEC)
        games = RowGames(prepare, SPEC.inputs, BACKGROUND, partition)
        values = games.explain(same, OUTPUTS, Limits(samples=64 if method != "kernel" else 2000)).values
        torch.testing.assert_close(values, values[..., :1].expand(values.shape), atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_a_held_input_keeps_the_value_of_the_row(method):
    found, _ = explained(method, {"image": {"patches": [1, 2]}, "hold": ["past", "t"]})
    kept = {**BACKGROUND, **{name: ROW[name].expand(5, *ROW[name].shape[1:]) for name in ("past", "t")}}
    torch.testing.assert_close(found.base_values[0], NETWORK(kept).double().mean(0))


def test_rows_with_fewer_players_end_with_zeros():
    partition = Partition(SPEC, PARTITIONS["words"])
    fewer = SPANS.model_copy(update={"words": (None, 0, 0, 0, 0, None)})
    players = [partition.of(ONE, {"t": spans}) for spans in (SPANS, fewer)]
    games = RowGames(preparer("exact", NETWORK, BACKGROUND, SPEC), SPEC.inputs, BACKGROUND, partition, players)
    shares: list[float] = []
    both = {name: torch.cat([x, x]) for name, x in ROW.items()}

    def on_progress(share: float) -> bool:
        shares.append(share)
        return True

    limits = Limits(on_progress=on_progress)
    found = games.explain(both, OUTPUTS.expand(2, 2), limits)
    assert [each.count for each in players] == [5, 3]
    assert (found.values[1, :, 3:] == 0).all()
    assert found.residuals.abs().max() < 1e-6
    assert shares == sorted(shares)
    assert shares[-1] == 1
