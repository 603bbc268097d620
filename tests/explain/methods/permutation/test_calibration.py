"""The standard errors of `permutation` on six trained networks, at every number of samples.

One number of samples a week: WHYSERVE_CALIBRATION=all takes all of them.
"""

import os
from datetime import UTC, datetime
from functools import cache

import pytest
import torch

from tests.explain.trained import KINDS, trained
from whyserve.explain.game.base import Limits
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.permutation.permutation import Permutation

NETWORKS = [(data, kind) for data in ("diabetes", "wine", "breast_cancer") for kind in KINDS]
SAMPLES = (1, 2, 4, 8, 16)
SEEDS = 30


def chosen() -> tuple[int, ...]:
    week = datetime.now(UTC).isocalendar().week
    return SAMPLES if os.environ.get("WHYSERVE_CALIBRATION") == "all" else (SAMPLES[week % len(SAMPLES)],)


@cache
def prepared(data: str, kind: str) -> tuple[Permutation, dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """The method, the rows, their most likely outputs and the exact attributions."""
    network, background, rows = trained(data, kind)
    features = background.shape[1]
    # The mean, the error and the extreme of each measure of breast_cancer are one player: 10 have exact values.
    players = Players(
        10 if features == 30 else features, {"x": torch.arange(features) % (10 if features == 30 else features)}
    )
    with torch.no_grad():
        top = network({"x": rows}).argmax(1, keepdim=True)
    truth = Exact(network, {"x": background}, players).explain({"x": rows}, top, Limits()).values
    return Permutation(network, {"x": background}, players), {"x": rows}, top, truth


@pytest.mark.slow
@pytest.mark.parametrize("samples", chosen())
def test_standard_errors_are_calibrated(samples: int):
    """64 to 72 % of errors lie within one standard error, 98 % within 2.576; for each network, 58 to 78 %."""
    ratios = {}
    for data, kind in NETWORKS:
        method, rows, top, truth = prepared(data, kind)
        found = []
        for seed in range(SEEDS):
            answer = method.explain(rows, top, Limits(samples=samples, seed=seed))
            assert answer.standard_errors is not None
            found.append((answer.values - truth).abs() / answer.standard_errors)
        ratios[data, kind] = torch.cat(found)
    within = {name: float((ratio < 1).double().mean()) for name, ratio in ratios.items()}
    pooled = torch.cat([ratio.flatten() for ratio in ratios.values()])
    shares = float((pooled < 1).double().mean()), float((pooled < 2.576).double().mean())
    assert all(0.58 <= share <= 0.78 for share in within.values()), (shares, within)
    assert 0.64 <= shares[0] <= 0.72, (shares, within)
    assert shares[1] >= 0.98, (shares, within)
