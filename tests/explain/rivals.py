"""Explainers of deep networks from other packages, called as in their documentation, for comparison with ours."""

import logging
import warnings
from collections.abc import Callable, Mapping

import numpy as np
import shap
import torch
from captum.attr import DeepLiftShap
from torch import nn

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players

SAMPLES = 200


class Table(nn.Module):
    """A network whose output is always (rows, outputs): the other packages need it."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.module(*inputs)
        return out.unsqueeze(1) if out.ndim == 1 else out


def shap_deep(network: Network, background: Inputs, rows: Inputs, outputs: int, seed: int) -> list[np.ndarray]:
    """shap.DeepExplainer: one array (rows, *shape, outputs) per input."""
    return _shap(shap.DeepExplainer(*_arguments(network, background)), rows, outputs, check_additivity=False)


def shap_gradient(network: Network, background: Inputs, rows: Inputs, outputs: int, seed: int) -> list[np.ndarray]:
    """shap.GradientExplainer with its default of 200 samples."""
    return _shap(shap.GradientExplainer(*_arguments(network, background)), rows, outputs, nsamples=SAMPLES, rseed=seed)


def captum_deep(network: Network, background: Inputs, rows: Inputs, outputs: int, seed: int) -> list[np.ndarray]:
    """captum.attr.DeepLiftShap."""
    explainer = DeepLiftShap(Table(network.module))
    inputs, base = tuple(x.clone() for x in rows.values()), tuple(background.values())
    each = [explainer.attribute(inputs, base, target=k) for k in range(outputs)]
    return [np.stack([part[i].detach().numpy() for part in each], -1) for i in range(len(inputs))]


RIVALS: dict[str, Callable[[Network, Inputs, Inputs, int, int], list[np.ndarray]]] = {
    "shap.DeepExplainer": shap_deep,
    "captum.DeepLiftShap": captum_deep,
    "shap.GradientExplainer": shap_gradient,
}


def answers(
    name: str,
    network: Network,
    background: Inputs,
    rows: Inputs,
    players: Players,
    *,
    outputs: int,
    seed: int = 0,
) -> torch.Tensor | None:
    """(R, K, P) float64 of all outputs; None if the rival cannot explain the network."""
    logging.getLogger("captum").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = RIVALS[name](network, background, rows, outputs, seed)
    except Exception:
        # The other packages raise many kinds of exceptions.
        return None
    elements: Mapping[str, torch.Tensor] = {
        key: torch.from_numpy(np.asarray(values, dtype=np.float64)).movedim(-1, 1)
        for key, values in zip(rows, found, strict=True)
    }
    values = players.collect(elements)
    return values if torch.isfinite(values).all() else None


def _arguments(network: Network, background: Inputs) -> tuple[nn.Module, list[torch.Tensor]]:
    return Table(network.module), list(background.values())


def _shap(explainer: object, rows: Inputs, outputs: int, **settings: object) -> list[np.ndarray]:
    found = explainer.shap_values(list(rows.values()), **settings)  # type: ignore[attr-defined]
    found = found if isinstance(found, list) and len(rows) > 1 else [found[0] if isinstance(found, list) else found]
    shaped = [np.asarray(values) for values in found]
    return [v if v.ndim == x.ndim + 1 else v[..., None] for v, x in zip(shaped, rows.values(), strict=True)]
