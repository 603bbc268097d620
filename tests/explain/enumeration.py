"""Shapley values by their definition: slow, and independent of the methods that are compared with it."""

from collections.abc import Mapping
from itertools import combinations
from math import factorial

import numpy as np
import torch

from whyserve.explain.game.network import Network


def enumerate_shapley(
    network: Network,
    row: Mapping[str, torch.Tensor],
    background: Mapping[str, torch.Tensor],
    membership: Mapping[str, torch.Tensor],
    output: int,
) -> np.ndarray:
    """(P,) float64: φ_p = Σ_S |S|!(P−|S|−1)!/P! (v(S + p) − v(S)) of one row, (*shape) per input."""
    players = 1 + max(int(m.max()) for m in membership.values())

    def coalition_values(present: frozenset[int]) -> float:
        mixed = {}
        for name, rows in background.items():
            x = rows.clone()
            for index in np.ndindex(*membership[name].shape):
                if int(membership[name][index]) in present:
                    x[(slice(None), *index)] = row[name][index]
            mixed[name] = x
        with torch.no_grad():
            return float(network(mixed)[:, output].double().mean())

    values_of = {
        frozenset(chosen): coalition_values(frozenset(chosen))
        for size in range(players + 1)
        for chosen in combinations(range(players), size)
    }
    values = np.zeros(players)
    for player in range(players):
        for present, value in values_of.items():
            if player not in present:
                weight = factorial(len(present)) * factorial(players - len(present) - 1) / factorial(players)
                values[player] += weight * (values_of[present | {player}] - value)
    return values
