"""The rivals' half of `make bench-rivals`: it needs shapiq and ONNX Runtime, and no torch."""

import json
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import shapiq.approximator as rivals

RIVALS: dict[str, Callable[[int, int], object]] = {
    "KernelSHAP, paired": lambda n, seed: rivals.KernelSHAP(n, pairing_trick=True, random_state=seed),
    "LeverageSHAP": lambda n, seed: rivals.LeverageSHAP(n, random_state=seed),
    "RegressionMSR": lambda n, seed: rivals.RegressionMSR(n, "SV", random_state=seed),
    "ProxySHAP": lambda n, seed: rivals.ProxySHAP(n, max_order=1, index="SV", adjustment=True, random_state=seed),
    "PolySHAP": lambda n, seed: rivals.PolySHAP(n, max_order=2, pairing_trick=True, random_state=seed),
    "OddSHAP": lambda n, seed: rivals.OddSHAP(n, random_state=seed),
    "PermutationSamplingSV": lambda n, seed: rivals.PermutationSamplingSV(n, random_state=seed),
    "SVARM": lambda n, seed: rivals.SVARM(n, random_state=seed),
}


class Game:
    """The output of a network for coalitions of one row with some background rows, averaged over them."""

    def __init__(
        self, run: Callable[[np.ndarray], np.ndarray], row: np.ndarray, background: np.ndarray, players: np.ndarray
    ) -> None:
        self.run, self.row, self.background, self.players = run, row, background, players
        self.empty = float(run(background).mean())

    def __call__(self, coalitions: np.ndarray) -> np.ndarray:
        """The value of each coalition; the empty one has 0."""
        mask = np.atleast_2d(coalitions).astype(bool)[:, self.players].reshape(-1, 1, *self.row.shape)
        found = []
        for part in np.array_split(mask, max(1, len(mask) * len(self.background) // 20_000)):
            mixed = np.where(part, self.row, self.background[None]).reshape(-1, *self.row.shape)
            found.append(self.run(mixed).reshape(len(part), -1).mean(1))
        return np.concatenate(found) - self.empty


def one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def answers(make: Callable[[int, int], object], game: Game, count: int, budget: int, seed: int) -> np.ndarray:
    """The empty and the full coalition are not counted for anyone."""
    found = make(count, seed).approximate(budget + 2, game)  # type: ignore[attr-defined]
    return np.array([found[(player,)] for player in range(count)])


def distances(folder: Path, seeds: int, budget: int, mode: str, name: str) -> Iterator[float]:
    """The distances of one rival. Rows are in the outer loop."""
    given = np.load(folder / "given.npz")
    session = onnxruntime.InferenceSession(folder / "network.onnx", one_thread(), providers=["CPUExecutionProvider"])
    (key,), count = [each.name for each in session.get_inputs()], given["reference"].shape[1]
    background = given["background"]
    for at, row in enumerate(given["rows"]):
        column = int(given["outputs"][at])

        def run(x: np.ndarray, column: int = column) -> np.ndarray:
            out = session.run(None, {key: x})[0]
            return (out[:, None] if out.ndim == 1 else out)[:, column].astype(float)

        parts = [background] if mode == "whole" else [background[n : n + 1] for n in range(len(background))]
        games = [Game(run, row, part, given["players"]) for part in parts]
        for seed in range(seeds):
            values = np.mean(
                [answers(RIVALS[name], game, count, budget, 1000 * seed + n) for n, game in enumerate(games)], 0
            )
            reference = given["reference"][at]
            yield float(np.abs(values - reference).mean() / np.abs(reference).mean())


def within(seconds: float, folder: Path, *parts: str) -> list[float]:
    """The distances that a process of its own finds in so many seconds. parts: budget, mode and rival."""
    command = [sys.executable, "-P", __file__, folder, *parts]
    try:
        out = subprocess.run(command, check=False, stdout=subprocess.PIPE, timeout=seconds).stdout
    except subprocess.TimeoutExpired as late:
        out = late.stdout or b""
    return [float(each) for each in out.split()]


def main() -> None:
    folder = Path(sys.argv[1])
    plan = json.loads((folder / "plan.json").read_text())
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    if len(sys.argv) > 2:
        budget, mode, name = sys.argv[2:]
        for distance in distances(folder, plan["seeds"], int(budget), mode, name):
            print(distance, flush=True)
        return
    result: dict[str, dict[str, dict[str, list[float]]]] = {}
    for budget in map(str, plan["budgets"]):
        result[budget] = {}
        for mode in ("whole", "each"):
            found = result[budget][mode] = {}
            for name in RIVALS:
                found[name] = within(plan["seconds"], folder, budget, mode, name)
                middle = np.median(found[name]) if found[name] else "–"
                print(plan["name"], budget, mode, name, middle, len(found[name]), flush=True)
    (folder / "theirs.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
