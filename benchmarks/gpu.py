"""`deep`, `permutation` and `gradient` on a CUDA device and on the CPU: `python -m benchmarks.gpu [--small]`.

It takes less than six minutes. It needs torch 2.11 or later, numpy and scipy, and no other package (PYTHONPATH=app).
shap and captum run beside it on the same device if they are installed, and scikit-image makes the superpixels. If there
is no CUDA device, the CPU alone is measured, and the output says so.

Exits with 1 if a result of the device differs from that of the CPU by more than 1e-5 of the scale, the largest
|output|. Times include the transfer of the rows and of the results. Weights are random. Rows and background are too,
except that the pictures are smooth.
"""

import argparse
import logging
import platform
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from benchmarks.gpu_networks import Encoder, ResNet, mlp, picture, superpixels
from benchmarks.pages import table
from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Limits
from whyserve.explain.game.device import CPU, Device, open_device
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.gradient import Gradient
from whyserve.explain.methods.permutation.permutation import Permutation

METHODS = {"deep": Deep, "permutation": Permutation, "gradient": Gradient}
BOUND = 1e-5
# Seconds of all measurements. What is left over then is skipped, and the table says so.
BUDGET_S = 300.0
# Runs of one function: at least one, and more until so many seconds are over.
REPEAT_S, MOST_RUNS = 1.0, 20
MEMORY_BYTES = 1 << 30
# Quadrature points of a pair, as in `gradient`; the others draw as many at random.
POINTS = 16
SKIPPED, NONE = "no time left", "—"


@dataclass(frozen=True, slots=True)
class Case:
    """A network with its rows. players: the player of each element of a row. samples: of permutation."""

    name: str
    module: nn.Module
    rows: torch.Tensor
    background: torch.Tensor
    players: Players
    samples: int


def cases(small: bool) -> list[Case]:
    """small: networks that two cores explain in seconds."""
    torch.manual_seed(0)
    side, width, blocks, count = (64, 8, (1, 1, 1, 1), 9) if small else (224, 64, (3, 4, 6, 3), 25)
    tokens, hidden, layers = (12, 64, 2) if small else (32, 768, 12)
    pictures = torch.stack([picture(side) for _ in range(3)])
    ids = torch.randint(0, 30_000, (3, tokens))
    mask, word = superpixels(pictures[0], count)
    number = int(mask.max()) + 1
    return [
        Case("MLP 30-64-64-2", mlp(), torch.randn(16, 30), torch.randn(100, 30), elements(30), 4),
        Case(
            f"{'small ResNet' if small else 'ResNet-50'}, {side}×{side}, {number} {word}",
            ResNet(width, blocks),
            *(pictures[:1], pictures[1:]),
            Players(number, {"x": mask.expand(3, side, side)}),
            2,
        ),
        Case(
            f"{'small encoder' if small else 'BERT-base-sized encoder'}, {tokens} tokens",
            Encoder(hidden, layers),
            *(ids[:1], ids[1:]),
            elements(tokens),
            2,
        ),
    ]


def elements(count: int) -> Players:
    return Players.elements({"x": (count,)})


def timed(run: Callable[[], Any]) -> tuple[Any, float]:
    """The result, and the seconds of the fastest run."""
    times: list[float] = []
    end = time.perf_counter() + REPEAT_S
    while not times or (time.perf_counter() < end and len(times) < MOST_RUNS):
        began = time.perf_counter()
        result = run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - began)
    return result, min(times)


def ours(case: Case, method: str, device: Device) -> Callable[[], Any]:
    """The method, prepared on a device."""
    network = Network(case.module.to(device.torch), ("x",))
    make = partial(METHODS[method], network, memory_bytes=device.pass_bytes(MEMORY_BYTES))
    prepared = device.prepared(make, {"x": case.background}, case.players)
    outputs = torch.zeros(len(case.rows), 1, dtype=torch.int64)
    limits = Limits(samples=case.samples if method == "permutation" else None)
    return lambda: prepared.explain({"x": case.rows}, outputs, limits)


def rivals(case: Case, method: str, device: Device) -> dict[str, Callable[[], Any]]:
    """What other packages have for the same network and players, on the same device. Ids are not what they take."""
    module, on = case.module.to(device.torch), device.torch
    x, background = case.rows.to(on), case.background.to(on)
    found: dict[str, Callable[[], Any]] = {}
    if not x.is_floating_point() and method != "permutation":
        return found
    if find_spec("shap") and method != "permutation":
        import shap

        made = {"deep": shap.DeepExplainer, "gradient": shap.GradientExplainer}[method](module, background)
        given = {"check_additivity": False} if method == "deep" else {"nsamples": POINTS * len(background)}
        # One output, as ours: the greatest.
        found[type(made).__name__] = lambda: made.shap_values(x, ranked_outputs=1, **given)
    if find_spec("captum"):
        from captum.attr import DeepLiftShap, GradientShap, ShapleyValueSampling

        logging.getLogger("captum").setLevel(logging.ERROR)
        if method == "permutation":
            mask = case.players.membership["x"].to(on)[None].contiguous()
            sampling = ShapleyValueSampling(module)
            # It takes one background row at a time, so each gets the samples of ours.
            found["ShapleyValueSampling"] = lambda: [
                sampling.attribute(x, row[None], target=0, feature_mask=mask, n_samples=2 * case.samples)
                for row in background
            ]
        else:
            kind = {"deep": DeepLiftShap, "gradient": GradientShap}[method](module)
            extra = {} if method == "deep" else {"n_samples": POINTS * len(background)}
            found[type(kind).__name__] = lambda: kind.attribute(x, background, target=0, **extra)
    return found


def measure(case: Case, device: Device, left: Callable[[], float]) -> tuple[list[list[str]], float]:
    """The lines of a case, and the largest difference between the devices, as a share of the scale."""
    lines, worst = [], 0.0
    for method in METHODS:
        seconds, answers = {}, {}
        try:
            for on in dict.fromkeys([CPU, device]):
                answers[on], seconds[on] = timed(ours(case, method, on))
        except UnsupportedNetwork as error:
            lines.append([case.name, method, error.message, *[NONE] * 4])
            continue
        first, last = answers[CPU], answers[device]
        scale = max(float(first.predictions.abs().max()), float(first.base_values.abs().max()))
        difference = float((first.values - last.values).abs().max()) / scale
        worst = max(worst, difference)
        others = []
        for name, run in rivals(case, method, device).items() if left() > 0 else ():
            try:
                others.append(f"{name} {1e3 * timed(run)[1]:,.1f}" if left() > 0 else f"{name}: {SKIPPED}")
            except Exception as error:  # other packages raise many kinds
                others.append(f"{name}: {type(error).__name__}")
        is_cpu = device.is_cpu
        lines.append([
            case.name, method, f"{1e3 * seconds[CPU]:,.1f}", NONE if is_cpu else f"{1e3 * seconds[device]:,.1f}",
            NONE if is_cpu else f"{seconds[CPU] / seconds[device]:.1f}", NONE if is_cpu else f"{difference:.1e}",
            "; ".join(others) or (NONE if left() > 0 else SKIPPED),
        ])  # fmt: skip
    return lines, worst


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--small", action="store_true", help="small networks, for a machine without a device")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    began = time.perf_counter()
    device = open_device("auto")
    print(f"device: {device.name}; CPU threads: {torch.get_num_threads()}", end="; ")
    print(f"torch {torch.__version__}, Python {platform.python_version()}", flush=True)
    if device.is_cpu:
        print("No CUDA device was available: nothing was measured on one, and no results were compared.", flush=True)
    lines, worst = [], 0.0
    for case in cases(given.small):
        case.module.eval().requires_grad_(False)
        found, largest = measure(case, device, lambda: began + BUDGET_S - time.perf_counter())
        lines, worst = lines + found, max(worst, largest)
    heads = ["network", "method", "CPU, ms", "device, ms", "CPU / device", "difference", "others on the device, ms"]
    print(table(heads, lines))
    print(f"{time.perf_counter() - began:.0f} s")
    if worst > BOUND:
        sys.exit(f"the largest difference is {worst:.1e} of the scale; it may be {BOUND:g}")


if __name__ == "__main__":
    main()
