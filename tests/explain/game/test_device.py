"""The device of networks and passes: names, moves between devices, and passes that take too much memory."""

import copy
import subprocess
import sys
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from tests.explain.game.labelled import LABEL, Labelled
from whyserve.errors import ConfigurationError, UnsupportedNetwork
from whyserve.explain.game.base import Limits
from whyserve.explain.game.device import CPU, Device, OnDevice, open_device
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.backward import Backward
from whyserve.explain.methods.deep.binding import bound_rules
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.deep.forward import Forward
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.registry import EXPLAINERS

ON_LABEL = Device(LABEL, "label")
GENERATOR = torch.Generator().manual_seed(3)
ROWS = torch.randn(4, 6, generator=GENERATOR)
BACKGROUND = torch.randn(9, 6, generator=GENERATOR)
OUTPUTS = torch.tensor([[0, 1], [1, 0], [0, 2], [2, 1]])
MLP = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 3), nn.Softmax(-1)).requires_grad_(False).eval()


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.recurrent, self.last = nn.Embedding(7, 4), nn.GRU(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scale = torch.full((1,), 2.0)  # made without a device, as models do
        found: torch.Tensor = self.last(self.recurrent(self.table(x) * scale)[0][:, -1])
        return found


class Limited(nn.Module):
    """A network on a device whose memory holds so many rows. `largest` is the largest pass that did fit."""

    def __init__(self, module: nn.Module, most: int, *, real: bool = False) -> None:
        super().__init__()
        self.module, self.most, self.largest, self.real = module, most, 0, real

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > self.most:
            if self.real:
                torch.empty(1 << 48)  # more than any machine has: the allocator of the CPU refuses it
            raise torch.OutOfMemoryError("CUDA out of memory.")
        self.largest = max(self.largest, len(x))
        found: torch.Tensor = self.module(x)
        return found


@pytest.mark.parametrize("method", sorted(EXPLAINERS))
@pytest.mark.parametrize("grouped", [False, True], ids=["elements", "groups"])
def test_every_method_keeps_its_tensors_on_the_device_and_returns_those_of_the_cpu(method, grouped):
    players = Players(3, {"x": torch.tensor([0, 0, 1, 1, 2, 2])}) if grouped else Players.elements({"x": (6,)})
    check(method, MLP, ROWS, BACKGROUND, players)


@pytest.mark.parametrize("method", ["exact", "permutation", "gradient"])
def test_integer_inputs_are_explained_on_the_device(method):
    torch.manual_seed(0)
    rows, background = torch.randint(0, 7, (4, 6), generator=GENERATOR), torch.randint(0, 7, (9, 6))
    check(method, Tokens().requires_grad_(False).eval(), rows, background, Players.elements({"x": (6,)}))


def check(method, module, rows, background, players):
    """The same values on the label as on the CPU. A progress callback may use the CPU, as another job does."""
    expected = EXPLAINERS[method](Network(module, ("x",)), {"x": background}, players).explain(
        {"x": rows}, OUTPUTS, Limits(seed=5)
    )
    seen = []

    def on_progress(share: float) -> bool:
        seen.append(torch.zeros(2).numpy().sum() + share)
        return True

    traced = EXPLAINERS[method](Network(module, ("x",)), {"x": background}, players) if method == "deep" else None
    with Labelled() as label:
        on_device = Network(copy.deepcopy(module).to(LABEL), ("x",))
        make = partial(moved, traced, on_device) if traced else partial(EXPLAINERS[method], on_device)
        made = ON_LABEL.prepared(make, {"x": background}, players)
        found = made.explain({"x": rows}, OUTPUTS, Limits(seed=5, on_progress=on_progress))
        assert isinstance(made, OnDevice)
        assert not label.is_on(found.values)
    assert seen
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.base_values, expected.base_values, rtol=0, atol=1e-6)


def moved(deep, network, background, players):
    """`deep` on the label. torch.export uses the meta device itself, so the trace is made before, on the CPU."""
    constants = {slot: x.to(LABEL) if isinstance(x, torch.Tensor) else x for slot, x in deep.program.constants.items()}
    made, program = copy.copy(deep), replace(deep.program, constants=constants)
    rules = bound_rules(program)
    made.network, made.program = network, program
    made.forward, made.backward = Forward(program, rules, network.names), Backward(program, rules)
    return made.again(background, players)


def test_the_label_finds_a_tensor_that_was_left_on_the_cpu():
    left = torch.ones(6)
    network = nn.Sequential(MLP)
    network.forward = lambda x: MLP(x) + left[:3]  # type: ignore[method-assign]
    with Labelled(), pytest.raises(AssertionError, match="two devices"):
        network(torch.zeros(2, 6, device=LABEL))


@pytest.mark.parametrize("real", [False, True], ids=["cuda", "cpu"])
@pytest.mark.parametrize("method", ["exact", "gradient", "kernel", "permutation"])
def test_a_pass_that_takes_too_much_memory_is_run_in_halves(method, real):
    limited = Limited(MLP, 13, real=real)
    expected, found = (
        EXPLAINERS[method](Network(module, ("x",)), {"x": BACKGROUND}, Players.elements({"x": (6,)})).explain(
            {"x": ROWS}, OUTPUTS, Limits(seed=5)
        )
        for module in (MLP, limited)
    )
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-6)
    assert 6 < limited.largest <= 13  # halves, not single rows


def test_the_next_pass_is_as_small_as_the_halves_that_did_fit():
    limited = Limited(MLP, 13)
    exact = Exact(Network(limited, ("x",)), {"x": BACKGROUND}, Players.elements({"x": (6,)}))
    exact.explain({"x": ROWS}, OUTPUTS, Limits())
    assert exact.passes.chunk_rows <= 13


def test_deep_runs_fewer_pairs_at_once(monkeypatch):
    """The rules run on the traced network, so the first rule's pairs are limited here."""
    players = Players.elements({"x": (6,)})
    deep = Deep(Network(MLP, ("x",)), {"x": BACKGROUND}, players)
    expected = deep.explain({"x": ROWS}, OUTPUTS, Limits())
    run, sizes = deep.backward.run, []

    def limited(pairs, outputs):
        if pairs.count > 5:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        sizes.append(pairs.count)
        return run(pairs, outputs)

    monkeypatch.setattr(deep.backward, "run", limited)
    found = deep.explain({"x": ROWS}, OUTPUTS, Limits())
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-6)
    assert max(sizes) > 1
    one = ({"x": ROWS[:1]}, OUTPUTS[:1])
    monkeypatch.setattr(deep.backward, "run", run)
    whole = deep.pair_shares({"x": ROWS[:1]}, OUTPUTS[:1])
    monkeypatch.setattr(deep.backward, "run", limited)
    torch.testing.assert_close(deep.pair_shares(*one), whole, rtol=0, atol=1e-6)


def test_a_row_that_does_not_fit_is_a_fault_of_the_network_on_this_device():
    made = OnDevice(Device(torch.device("cpu"), "cuda (small)"), lambda *_: Refusing(), {}, Players(0, {}))
    with pytest.raises(UnsupportedNetwork, match=r"more memory than cuda \(small\) has free"):
        made.explain({"x": ROWS}, OUTPUTS, Limits())


class Refusing:
    def explain(self, rows, outputs, limits):
        raise torch.OutOfMemoryError("CUDA out of memory.")


@pytest.mark.skipif(torch.cuda.is_available(), reason="for a machine without CUDA")
def test_without_cuda_only_the_cpu_can_be_opened():
    assert open_device("auto") is open_device("cpu") is CPU
    for wanted in ("cuda", "cuda:1"):
        with pytest.raises(ConfigurationError, match=f"WHYSERVE_DEVICE={wanted}: torch .*; set cpu or auto"):
            open_device(wanted)


@pytest.mark.parametrize(("value", "said"), [("cuda", "WHYSERVE_DEVICE=cuda: torch"), ("gpu", "WHYSERVE_DEVICE")])
def test_a_worker_with_a_wrong_device_says_so_in_one_line(value, said, tmp_path):
    if value == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    command = [sys.executable, "-m", "whyserve.cli", "worker", "--device", value, "--state", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert ended.returncode != 0
    lines = ended.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert said in lines[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("method", sorted(EXPLAINERS))
def test_a_cuda_device_gives_the_values_of_the_cpu(method):
    device, players = open_device("cuda"), Players.elements({"x": (6,)})
    expected = EXPLAINERS[method](Network(MLP, ("x",)), {"x": BACKGROUND}, players).explain(
        {"x": ROWS}, OUTPUTS, Limits(seed=5)
    )
    network = Network(copy.deepcopy(MLP).to(device.torch), ("x",))
    made = device.prepared(lambda rows, p: EXPLAINERS[method](network, rows, p), {"x": BACKGROUND}, players)
    found = made.explain({"x": ROWS}, OUTPUTS, Limits(seed=5))
    torch.testing.assert_close(found.values, expected.values, rtol=0, atol=1e-5 * float(expected.values.abs().max()))
