from collections.abc import Callable

import pytest
import torch
from torch import nn

from whyserve.explain.game.masking import PairMixer
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.graph.export import trace
from whyserve.explain.methods.permutation.first_layer import FirstLayer, linear_steps
from whyserve.explain.methods.permutation.permutation import Permutation


class Of(nn.Module):
    def __init__(self, function, *parts: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.parts)  # type: ignore[no-any-return]


def mlp(*between: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Linear(12, 8), *between, nn.ReLU(), nn.Linear(8, 5), nn.Tanh(), nn.Linear(5, 3))


def normed() -> nn.Sequential:
    norm = nn.BatchNorm1d(8)
    norm.running_mean, norm.running_var = torch.randn(8), torch.rand(8) + 0.5
    return mlp(norm)


SPREAD = torch.linspace(0.1, 300, 12)
PLAIN: dict[str, Callable[[], nn.Module]] = {
    "plain": mlp,
    "scaled": lambda: Of(lambda x, rest: rest((x - SPREAD.to(x.dtype)) / SPREAD.to(x.dtype)).softmax(-1), mlp()),
    "batch norm": normed,
    "a picture": lambda: nn.Sequential(nn.Flatten(), mlp()),
    "linear": lambda: nn.Linear(12, 2),
    "few columns": lambda: nn.Sequential(mlp(), nn.LogSoftmax(-1)),
    "many columns": lambda: nn.Sequential(nn.Linear(12, 20), nn.Softmax(1)),
}
OTHERS: dict[str, Callable[[], nn.Module]] = {
    "convolution": lambda: nn.Sequential(nn.Unflatten(1, (1, 12)), nn.Conv1d(1, 2, 3), nn.Flatten(), nn.Linear(20, 1)),
    "layer norm": lambda: mlp(nn.LayerNorm(8)),
    "around the layer": lambda: Of(lambda x, rest: rest(x) + x[:, :3], mlp()),
    "squares": lambda: Of(lambda x, rest: rest(x * x), mlp()),
    "reciprocals": lambda: Of(lambda x, rest: rest(1 / (3 + x)), mlp()),
    "an activation first": lambda: nn.Sequential(nn.ReLU(), mlp()),
}


def in_two_parts(module: nn.Module, background: torch.Tensor, players: Players) -> tuple[Network, FirstLayer | None]:
    network = Network(module.eval(), ("x",))
    program = trace(module, (background,))
    steps = linear_steps(program)
    return network, FirstLayer(program, steps, network, {"x": background}, players) if steps else None


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("kind", PLAIN)
def test_mixes_behind_the_layer_have_the_networks_outputs(kind, grouped, dtype):
    torch.manual_seed(0)
    shape = (3, 4) if kind == "a picture" else (12,)
    background, row = (torch.randn(rows, *shape, dtype=dtype) * SPREAD.reshape(shape).to(dtype) for rows in (9, 1))
    players = Players(4, {"x": torch.randint(0, 4, shape)}) if grouped else Players.elements({"x": shape})
    module = PLAIN[kind]().to(dtype)
    for part in module.modules():
        if isinstance(part, nn.Linear) and kind != "scaled":
            part.weight.data.div_(300)
    network, first = in_two_parts(module, background, players)
    assert first is not None
    present = torch.randint(0, 2, (50, players.count), dtype=torch.int32).neg()
    rows = torch.randint(0, 9, (50,))
    with torch.no_grad():
        expected = network(PairMixer(players, {"x": row}, {"x": background}).mix(present, rows))
        found = first.rest(first.mixer({"x": row})(present, rows))
    assert (found - expected).abs().max() <= 20 * torch.finfo(dtype).eps * expected.abs().max()


@pytest.mark.parametrize("kind", OTHERS)
def test_other_networks_stay_whole(kind):
    torch.manual_seed(0)
    assert in_two_parts(OTHERS[kind](), torch.rand(9, 12), Players.elements({"x": (12,)}))[1] is None


def test_permutation_uses_it_for_each_background():
    torch.manual_seed(0)
    players = Players.elements({"x": (12,)})
    one, other = ({"x": torch.randn(rows, 12)} for rows in (9, 7))
    method = Permutation(Network(mlp().eval(), ("x",)), one, players)
    again = method.again(other, players)
    assert method.first is not None
    assert again.first is not None
    fresh = Permutation(method.passes.network, other, players).first
    assert fresh is not None
    assert torch.allclose(again.first.hidden, fresh.hidden)
    assert len(method.first.hidden) == 9
