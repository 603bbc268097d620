"""A case of the zoo with its explanations, computed once for all tests."""

from dataclasses import dataclass
from functools import cache

import torch

from tests.explain.zoo.case import Case
from tests.explain.zoo.networks import BY_NAME
from whyserve.explain.game.base import Attribution, Inputs, Limits
from whyserve.explain.game.network import Network
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.exact import Exact


@dataclass(frozen=True)
class Examined:
    """wanted: (R, K), every output for every row. exact: (R, K, P), None with many players. scale: of the output."""

    case: Case
    network: Network
    background: Inputs
    rows: Inputs
    wanted: torch.Tensor
    deep: Attribution
    exact: torch.Tensor | None
    scale: float

    def distance(self, values: torch.Tensor) -> float:
        """mean |φ − exact| over mean |exact|."""
        assert self.exact is not None
        return float((values - self.exact).abs().mean() / self.exact.abs().mean())


def explain_deep(
    network: Network, case: Case, background: Inputs, rows: Inputs
) -> tuple[Deep, torch.Tensor, Attribution]:
    """The explainer, every output for every row, and its attributions."""
    deep = Deep(network, background, case.players)
    count = next(iter(rows.values())).shape[0]
    wanted = torch.arange(deep.outputs.shape[1]).expand(count, -1)
    return deep, wanted, deep.explain(rows, wanted, Limits())


def scale_of(deep: Deep, answer: Attribution) -> float:
    """The largest output of the rows and of the background."""
    return float(torch.maximum(answer.predictions.abs().max(), deep.outputs.abs().max()))


@cache
def examine(name: str) -> Examined:
    """The case in float32: three rows, eight background rows."""
    case = BY_NAME[name]
    network = case.network()
    background, rows = case.rows()
    deep, wanted, answer = explain_deep(network, case, background, rows)
    exact = Exact(network, background, case.players).explain(rows, wanted, Limits()).values if case.few else None
    return Examined(case, network, background, rows, wanted, answer, exact, scale_of(deep, answer))
