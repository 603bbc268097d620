"""Wrappers of training, TorchScript, precisions, and networks that are refused by name."""

import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.optim.swa_utils import AveragedModel

from tests.conftest import ROOT
from tests.export.package.test_calls import RNG, X, taken
from whyserve.errors import WhyserveError
from whyserve.export.package.network import network_of
from whyserve.export.package.package import package
from whyserve.export.package.trials import try_background


class Net(nn.Module):
    def __init__(self, change=lambda network, x: network(x)):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.change = change

    def forward(self, x):
        return self.change(self.layers, x)


def plain():
    return Net().eval()


def scripted(network):
    return torch.jit.trace(network, torch.from_numpy(X[:2]))


def weight_norm():
    network = plain()
    network.layers[0] = torch.nn.utils.weight_norm(network.layers[0])
    network(torch.from_numpy(X))  # now its weight is computed, and cannot be copied with gradients
    return network


def lightning(forward=True):
    import lightning as L  # it loads slowly

    class Lit(L.LightningModule):  # type: ignore[misc]
        def __init__(self):
            super().__init__()
            self.net = torch.compile(plain())

    if forward:
        Lit.forward = lambda self, x: self.net(x)
    module = Lit()
    module.trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    return module


WRAPPED = {
    "compile": lambda: torch.compile(plain()),
    "DataParallel": lambda: nn.DataParallel(plain()),
    "averaged": lambda: AveragedModel(plain()),
    "weight norm": weight_norm,
    "traced": lambda: scripted(plain()),
    "TorchScript inside": lambda: Net(lambda layers, x: layers(x)).eval(),
    "float64": lambda: plain().double(),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", WRAPPED)
def test_a_wrapper_is_taken_off(name):
    model = WRAPPED[name]()
    if name == "TorchScript inside":
        model.layers[1] = torch.jit.script(nn.Tanh())
    with torch.no_grad():
        expected = plain()(torch.from_numpy(X)).numpy()
    found, run, file = taken(model, X)
    assert len(found) == 1
    assert file.dtype == (np.float64 if name == "float64" else np.float32)
    np.testing.assert_allclose(run, expected, atol=1e-6)
    np.testing.assert_allclose(file, expected, atol=1e-6)


@pytest.mark.slow
def test_a_lightning_module_loses_its_trainer():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = lightning()
        _, run, file = taken(model, X)
        np.testing.assert_allclose(file, run, atol=1e-6)
        assert model._trainer is not None
        with pytest.raises(WhyserveError, match=r"Lit has no forward method; define it, or give .* \(net\)"):
            network_of(lightning(forward=False))


def autocast(layers, x):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return layers(x).float()


def program(network):
    shapes = ({0: torch.export.Dim("batch")},)
    return torch.export.export(network, (torch.rand(3, 4, dtype=torch.bfloat16),), dynamic_shapes=shapes)


HALVES = {
    "float16": (lambda: plain().half(), "float16"),
    "bfloat16": (lambda: plain().bfloat16(), "bfloat16"),
    "autocast": (lambda: Net(autocast).eval(), "bfloat16"),
    "casts": (lambda: Net(lambda layers, x: layers(x.half()).float()).half().eval(), "float16"),
    "a program": (lambda: program(plain().bfloat16()), "bfloat16"),
}


@pytest.mark.parametrize("name", HALVES)
def test_half_precision_becomes_float32_within_its_rounding(name):
    build, dtype = HALVES[name]
    weights = plain() if name == "autocast" else plain().to(getattr(torch, dtype)).float()
    with torch.no_grad():
        expected = weights(torch.from_numpy(X)).numpy()
    network = network_of(build(), X)
    tried = try_background(network, X)
    precision = network.precision(tried.arrays)
    assert precision["original"] == dtype
    assert 0 < precision["largest"] < precision["bound"] == 16 * torch.finfo(getattr(torch, dtype)).eps
    np.testing.assert_allclose(taken(build(), X)[2], expected, atol=1e-6)


def test_full_precision_has_no_precision_entry_and_an_overflow_is_refused():
    network = network_of(plain(), X)
    assert network.precision({"x": X}) is None
    large = plain()
    nn.init.constant_(large.layers[0].weight, 200.0)
    nn.init.constant_(large.layers[2].weight, 6e4)
    large.layers[1] = nn.Identity()
    network = network_of(large.half(), X)
    with pytest.raises(WhyserveError, match=r"in float16 and its copy for serving differ .* on row"):
        network.precision({"x": 100 * X})


class Packed(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.exit = nn.GRU(4, 8, batch_first=True), nn.Linear(8, 2)

    def forward(self, x, lengths):
        steps = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.exit(self.rnn(steps)[1][-1])


class Unpacked(Packed):
    """What the refusal says to write instead."""

    def forward(self, x, lengths):
        steps, _ = self.rnn(x)
        last = steps.gather(1, (lengths - 1)[:, None, None].expand(-1, 1, steps.shape[2]))[:, 0]
        return self.exit(last)


def test_the_refusal_of_packed_sequences_shows_what_gives_the_same():
    background = {"x": RNG.normal(size=(6, 5, 4)).astype(np.float32), "lengths": RNG.integers(1, 6, 6)}
    packed, unpacked = Packed().eval(), Unpacked().eval()
    unpacked.load_state_dict(packed.state_dict())
    with torch.no_grad():
        expected = packed(*(torch.from_numpy(each) for each in background.values())).numpy()
    np.testing.assert_allclose(taken(unpacked, background)[2], expected, atol=1e-6)
    with pytest.raises(WhyserveError, match=r"pack_padded_sequence.* last = steps.gather"):
        taken(packed, background)


def quantised():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(plain(), {nn.Linear}, torch.qint8)


REFUSED = {
    "quantised": (quantised, r'"layers.0" of the network is quantised \(torch.ao.nn.quantized'),
    "dropout": (lambda: Net(lambda f, x: nn.functional.dropout(f(x), 0.5, training=True)), "the network is random"),
    "a latent": (lambda: Net(lambda f, x: f(x + torch.randn_like(x))), "the network is random"),
    "other rows": (lambda: Net(lambda f, x: f(x - x.mean(0))), "depends on the other rows of the batch"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_refusal_names_the_reason(name):
    build, message = REFUSED[name]
    with pytest.raises(WhyserveError, match=message):
        taken(build(), X)


@pytest.mark.slow
def test_the_manifest_and_the_report_say_the_precision(tmp_path):
    folders = {"folder": tmp_path / "models" / "mine", "artifacts": tmp_path / "artifacts"}
    made = package(plain().half(), background=X, names=["a", "b"], **folders)
    precision = made.manifest.spec.precision
    assert precision is not None
    assert precision.original == "float16"
    assert precision.bound == 16 * 2.0**-10
    assert "precision  float32; the original in float16 differs by at most" in str(made)


KERAS = """
import keras, numpy as np
from whyserve.export.package.network import network_of
rows = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
for policy in ("mixed_bfloat16", "bfloat16", "float32"):
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    given = keras.Input((4,), name="x", dtype="float32")
    x = keras.layers.Dense(8, "tanh")(given)
    x = keras.layers.BatchNormalization()(x)
    model = keras.Model(given, keras.layers.Dense(2, dtype="float32")(x))
    keras.config.set_dtype_policy("float32")
    network = network_of(model, rows)
    found = network.precision({"x": rows})
    if policy == "float32":
        assert found is None and network.model is model
        continue
    assert found["original"] == "bfloat16" and 0 < found["largest"] < found["bound"], found
    assert {layer.compute_dtype for layer in network.model.layers} == {"float32"}
    wide = [keras.ops.convert_to_numpy(keras.ops.cast(each, "float32")) for each in model.weights]
    assert all(np.array_equal(a, b) for a, b in zip(wide, network.model.get_weights()))
    assert [layer.name for layer in network.model.layers] == [layer.name for layer in model.layers]
"""


@pytest.mark.slow
def test_a_keras_policy_of_half_precision_becomes_float32():
    done = subprocess.run(
        [sys.executable, "-c", KERAS], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "KERAS_BACKEND": "torch"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
