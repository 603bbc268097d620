"""Compare our times with those of shap and of the matrix products alone: one thread, 100 background rows."""

import warnings
from collections.abc import Callable

import numpy as np
import shap
import torch
from torch import nn

from benchmarks.clock import interleaved
from benchmarks.pages import put, table
from tests.explain.rivals import Table
from tests.explain.trained import trained
from tests.explain.zoo.case import Case
from tests.explain.zoo.networks import CASES
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.permutation.permutation import Permutation

BACKGROUND = 100
REFERENCE_SAMPLES = 768  # of the reference for networks with too many players for exact enumeration


def main() -> None:
    put("explain-speed.md", "deep", deep_table())
    put("explain-speed.md", "zoo", zoo_table())
    put("explain-speed.md", "permutation", permutation_table())


# -- deep ------------------------------------------------------------------------------------------


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(30, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))


def cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 3)
    )


def deep_table() -> str:
    lines = []
    for name, build, shape in (("MLP 30-64-64-2", mlp, (30,)), ("CNN on 14×14, two convolutions", cnn, (1, 14, 14))):
        for rows in (1, 16):
            torch.manual_seed(0)
            module, background, x = build().eval(), torch.randn(BACKGROUND, *shape), torch.randn(rows, *shape)
            times = deep_times(module, background, x)
            bare = times["bare"]
            lines.append(
                [name, str(rows), *(f"{1e3 * times[key] / rows:.3g}" for key in ("ours", "one", "shap", "bare")),
                 f"{times['shap'] / times['ours']:.1f}", f"{times['ours'] / bare:.1f}"]
            )  # fmt: skip
    heads = ["network", "rows", "deep, all outputs: ms per row", "deep, one output", "shap.DeepExplainer, all outputs",
             "products only", "shap / deep", "deep / products"]  # fmt: skip
    return table(heads, lines)


def deep_times(module: nn.Module, background: torch.Tensor, x: torch.Tensor) -> dict[str, float]:
    players = Players.elements({"x": tuple(x.shape[1:])})
    deep = Deep(Network(module, ("x",)), {"x": background}, players)
    outputs = deep.outputs.shape[1]
    every = torch.arange(outputs).expand(len(x), outputs)
    one = torch.zeros(len(x), 1, dtype=torch.int64)
    theirs = shap.DeepExplainer(Table(module), background)
    return interleaved(
        {
            "ours": lambda: deep.explain({"x": x}, every, Limits()),
            "one": lambda: deep.explain({"x": x}, one, Limits()),
            "shap": lambda: theirs.shap_values(x, check_additivity=False),
            "bare": bare(module, x, outputs),
        }
    )


def bare(module: nn.Module, x: torch.Tensor, outputs: int) -> Callable[[], object]:
    """Only the matrix products: one forward pass of the rows, and one backward pass per pair and output."""
    pairs = len(x) * BACKGROUND * outputs
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear | nn.Conv2d)]
    shapes: dict[nn.Module, torch.Size] = {}
    hooks = [layer.register_forward_hook(lambda m, i, o: shapes.update({m: o.shape})) for layer in layers]
    module(x[:1])
    for hook in hooks:
        hook.remove()
    gradients = [torch.randn(pairs, *shapes[layer][1:]) for layer in layers]

    def run() -> None:
        with torch.no_grad():
            module(x)
            for layer, gradient in zip(layers, gradients, strict=True):
                if isinstance(layer, nn.Linear):
                    gradient @ layer.weight
                else:
                    nn.functional.conv_transpose2d(gradient, layer.weight)

    return run


def zoo_table() -> str:
    """The ratio of shap's time to ours on every zoo network that shap explains, for one row and all outputs."""
    lines = []
    for case in CASES:
        if (ratio := zoo_ratio(case)) is not None:
            lines.append([case.name, f"{1e3 * ratio[0]:.3g}", f"{1e3 * ratio[1]:.3g}", f"{ratio[1] / ratio[0]:.1f}"])
            print(*lines[-1], flush=True)
    lines.sort(key=lambda line: float(line[-1]))
    ratios = [float(line[-1]) for line in lines]
    lines.append(["median", "", "", f"**{np.median(ratios):.1f}**"])
    return table(["network", "deep, ms", "shap.DeepExplainer, ms", "shap / deep"], lines)


def zoo_ratio(case: Case) -> tuple[float, float] | None:
    network = case.network()
    background, rows = case.rows(background=BACKGROUND) if case.data is None else case.rows()
    one = {name: x[:1] for name, x in rows.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = shap.DeepExplainer(Table(case.network().module), list(background.values()))
            theirs.shap_values(list(one.values()), check_additivity=False)
        except Exception:
            return None
        deep = Deep(network, background, case.players)
        outputs = deep.outputs.shape[1]
        every = torch.arange(outputs)[None]
        times = interleaved(
            {
                "ours": lambda: deep.explain(one, every, Limits()),
                "theirs": lambda: theirs.shap_values(list(one.values()), check_additivity=False),
            },
            seconds=0.5,
        )
    return times["ours"], times["theirs"]


# -- permutation -----------------------------------------------------------------------------------


def permutation_table() -> str:
    lines = []
    for data in ("diabetes", "breast_cancer"):
        for kind in ("relu", "gelu_layernorm"):
            lines.append(permutation_line(data, kind))
            print(*lines[-1], flush=True)
    heads = ["network", "features", "permutation: distance", "ms per row", "shap.PermutationExplainer: permutations",
             "distance", "ms per row", "shap / permutation"]  # fmt: skip
    return table(heads, lines)


def permutation_line(data: str, kind: str) -> list[str]:
    """Compare times at equal distance: shap gets more permutations until its distance is ours."""
    network, background, rows = trained(data, kind)
    features = rows.shape[1]
    method = Permutation(network, {"x": background}, Players.elements({"x": (features,)}))
    top = method.passes.table({"x": rows}).argmax(1, keepdim=True)
    truth = method.explain({"x": rows}, top, Limits(samples=REFERENCE_SAMPLES, seed=99)).values[:, 0]

    def distance(values: torch.Tensor) -> float:
        return float((values - truth).abs().mean() / truth.abs().mean())

    our_distance = np.mean([distance(method.explain({"x": rows}, top, Limits(seed=s)).values[:, 0]) for s in range(4)])

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return network({"x": torch.from_numpy(np.asarray(x, dtype=np.float32))}).numpy()

    explainer = shap.PermutationExplainer(predict, shap.maskers.Independent(background.numpy(), BACKGROUND), seed=0)

    def theirs(permutations: int) -> torch.Tensor:
        values = explainer(rows.numpy(), max_evals=permutations * (2 * features + 1), silent=True).values
        values = values if values.ndim == 3 else values[..., None]
        return torch.from_numpy(values).double().gather(2, top[:, None].expand(-1, features, 1))[..., 0]

    permutations = 1
    while (their_distance := distance(theirs(permutations))) > our_distance and permutations < 256:
        permutations = permutations + 1 if permutations < 8 else int(permutations * 1.25)
    times = interleaved(
        {"ours": lambda: method.explain({"x": rows}, top, Limits()), "theirs": lambda: theirs(permutations)}, seconds=3
    )
    ours_ms, theirs_ms = (1e3 * times[name] / len(rows) for name in ("ours", "theirs"))
    ours = [f"{our_distance:.3f}", f"{ours_ms:.2g}"]
    shaps = [str(permutations), f"{their_distance:.3f}", f"{theirs_ms:.3g}"]
    return [f"{data}, {kind}", str(features), *ours, *shaps, f"{theirs_ms / ours_ms:.1f}"]
