"""Operations taken whole: maxima and softmax against their formulas, cells against their parts."""

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.methods.deep.rules.case import Case, Explained, explain, in_groups
from tests.explain.methods.deep.rules.test_exact_rules import BACKGROUND, ROWS

Multipliers = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""From both sides' logits (4,) to multipliers (outputs, 4)."""

# Eight numbers are four logits, each the mean of two. The first two logits of the first pair are the same on both
# sides, and the numbers behind the first are not.
ONES, OTHERS = ROWS.clone(), BACKGROUND.clone()
ONES[0, [0, 4]], OTHERS[0, [0, 4]] = torch.tensor([1.25, -0.75]).double(), torch.tensor([0.25, 0.25]).double()
ONES[0, [1, 5]] = OTHERS[0, [1, 5]]


def logits(x: torch.Tensor) -> torch.Tensor:
    """(N, 4)."""
    return (x[:, :4] + x[:, 4:]) / 2


def logarithmic_mean(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.where(a == b, a, (a - b) / (a.log() - b.log()).where(a != b, 1.0))


def of_logsumexp(z: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    """w = L(e, e₀)/L(S, S₀)."""
    return (logarithmic_mean(z.exp(), z0.exp()) / logarithmic_mean(z.exp().sum(), z0.exp().sum()))[None]


def of_log_softmax(z: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    return torch.eye(len(z)).double() - of_logsumexp(z, z0)


def of_softmax(z: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    """Δp = L(p, p₀) Δ ln p."""
    return logarithmic_mean(z.softmax(0), z0.softmax(0))[:, None] * of_log_softmax(z, z0)


def of_masked(z: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    """Softmax of the first three."""
    return F.pad(of_softmax(z[:3], z0[:3]), (0, 1, 0, 1))


def of_maximum(z: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    """The winner of the side with the larger maximum carries the change."""
    result, change = torch.zeros(1, len(z)).double(), z.max() - z0.max()
    place = z.argmax() if change >= 0 else z0.argmax()
    moved = z[place] - z0[place]
    result[0, place] = 1.0 if moved == 0 else change / moved
    return result


def of_minimum(z: torch.Tensor, z0: torch.Tensor) -> torch.Tensor:
    return of_maximum(-z, -z0)


BY_FORMULA: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Multipliers]] = {
    "_softmax": (lambda z: z.softmax(1), of_softmax),
    "_softmax first": (lambda z: z.reshape(-1, 4, 1).softmax(1), of_softmax),
    "_softmax masked": (
        lambda z: torch.where(torch.tensor([True, True, True, False]), z, -torch.inf).softmax(1),
        of_masked,
    ),
    "_log_softmax": (lambda z: z.log_softmax(1), of_log_softmax),
    "logsumexp": (lambda z: z.logsumexp(1), of_logsumexp),
    "logsumexp two": (lambda z: z.reshape(-1, 2, 2).logsumexp((1, 2), keepdim=True), of_logsumexp),
    "amax": (lambda z: z.amax(1), of_maximum),
    "amin": (lambda z: z.reshape(-1, 2, 2).amin((1, 2)), of_minimum),
    "max": (lambda z: z.max(1).values, of_maximum),
    "min": (lambda z: z.min(1, keepdim=True).values, of_minimum),
    "max_pool2d_with_indices": (lambda z: F.max_pool2d(z.reshape(-1, 1, 2, 2), 2), of_maximum),
    "max_pool3d_with_indices": (lambda z: F.max_pool3d(z.reshape(-1, 1, 1, 2, 2), (1, 2, 2)), of_maximum),
    "adaptive_max_pool2d": (lambda z: F.adaptive_max_pool2d(z.reshape(-1, 1, 4, 1).expand(-1, 1, 4, 3), (1, 2))[..., 0],
                            of_maximum),
    "adaptive_max_pool3d": (lambda z: F.adaptive_max_pool3d(z.reshape(-1, 1, 1, 2, 2), (1, 1, 1)), of_maximum),
}  # fmt: skip
FORMULA_CASES = [Case(f"aten.{name.split()[0]}", function) for name, (function, _) in BY_FORMULA.items()]
FORMULAS = [formula for _, formula in BY_FORMULA.values()]


def run_formula(cases: Sequence[Case]) -> Explained:
    return explain(lambda x: [case.function(logits(x)) for case in cases], ONES, OTHERS)


FORMULA_FOUND = in_groups(FORMULA_CASES, run_formula)


@pytest.mark.parametrize("number", range(len(FORMULA_CASES)), ids=list(BY_FORMULA))
def test_a_formula(number: int):
    found, place = FORMULA_FOUND(number)
    assert FORMULA_CASES[number].operation in found.names[place]
    wanted = torch.zeros(len(ONES), 8, found.columns[place].stop - found.columns[place].start).double()
    for r, x in enumerate(ONES):
        for x0 in OTHERS:
            of_logits = FORMULAS[number](logits(x[None])[0], logits(x0[None])[0])
            wanted[r] += ((x - x0).reshape(2, 1, 4) / 2 * of_logits).transpose(1, 2).reshape(8, -1) / len(OTHERS)
    assert torch.allclose(found.deep[..., found.columns[place]], wanted, atol=1e-9)


def test_some_logit_does_not_change_while_its_numbers_do():
    still = logits(ONES)[0] == logits(OTHERS)[0]
    assert still.tolist() == [True, True, False, False]
    assert ONES[0, 0] != OTHERS[0, 0]


def gates(x: torch.Tensor, h: torch.Tensor, layer: nn.RNNBase) -> tuple[torch.Tensor, torch.Tensor]:
    """Both parts of the gates' inputs."""
    entering, returning, bias, own = layer.all_weights[0]
    return F.linear(x, entering, bias), F.linear(h, returning, own)


def through_time(layer: nn.RNNBase, step: Callable[..., tuple[torch.Tensor, ...]]) -> Callable[..., torch.Tensor]:
    """The last state after two steps of four numbers; step: from x, the layer and the states to the states."""

    def apart(x: torch.Tensor) -> torch.Tensor:
        zero = torch.zeros_like(x[:, :3])
        states: tuple[torch.Tensor, ...] = (zero, zero) if isinstance(layer, nn.LSTM) else (zero,)
        for part in (x[:, :4], x[:, 4:]):
            states = step(part, layer, *states)
        return states[0]

    return apart


def lstm_step(x: torch.Tensor, layer: nn.RNNBase, h: torch.Tensor, c: torch.Tensor) -> tuple[torch.Tensor, ...]:
    i, f, a, o = torch.add(*gates(x, h, layer)).chunk(4, 1)
    c = f.sigmoid() * c + i.sigmoid() * a.tanh()
    return o.sigmoid() * c.tanh(), c


def gru_step(x: torch.Tensor, layer: nn.RNNBase, h: torch.Tensor) -> tuple[torch.Tensor, ...]:
    (r, z, n), (r_h, z_h, n_h) = (part.chunk(3, 1) for part in gates(x, h, layer))
    new = (n + (r + r_h).sigmoid() * n_h).tanh()
    return (new + (z + z_h).sigmoid() * (h - new),)


torch.manual_seed(0)
LSTM, GRU, TANH, RELU = (
    layer.double()
    for layer in (nn.LSTM(4, 3), nn.GRU(4, 3), nn.RNN(4, 3), nn.RNN(4, 3, nonlinearity="relu"))
)  # fmt: skip


def last_of(layer: nn.RNNBase) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda x: layer(x.reshape(-1, 2, 4).transpose(0, 1))[0][-1]


BY_PARTS: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], Callable[[torch.Tensor], torch.Tensor]]] = {
    "lstm": (last_of(LSTM), through_time(LSTM, lstm_step)),
    "gru": (last_of(GRU), through_time(GRU, gru_step)),
    "rnn_tanh": (last_of(TANH), through_time(TANH, lambda x, layer, h: (torch.add(*gates(x, h, layer)).tanh(),))),
    "rnn_relu": (last_of(RELU), through_time(RELU, lambda x, layer, h: (torch.add(*gates(x, h, layer)).relu(),))),
}
PART_CASES = [Case(f"aten.{name.split()[0]}", function) for name, (function, _) in BY_PARTS.items()]
LAYERS = {"lstm": LSTM, "gru": GRU, "rnn_tanh": TANH, "rnn_relu": RELU}


def run_parts(cases: Sequence[Case]) -> Explained:
    """Each case, and after all of them the parts of each."""
    apart = [parts for whole, parts in BY_PARTS.values() if any(whole is case.function for case in cases)]
    functions = [*(case.function for case in cases), *apart]
    return explain(lambda x: [function(x) for function in functions], ROWS, BACKGROUND, **LAYERS)


PART_FOUND = in_groups(PART_CASES, run_parts)


@pytest.mark.parametrize("number", range(len(PART_CASES)), ids=list(BY_PARTS))
def test_whole_equals_its_parts(number: int):
    found, place = PART_FOUND(number)
    apart, operation = place + len(found.columns) // 2, PART_CASES[number].operation
    assert operation in found.names[place]
    assert operation not in found.names[apart]
    one, other = (found.deep[..., found.columns[at]] for at in (place, apart))
    assert torch.allclose(one, other, atol=1e-9)
    assert one.abs().max() > 0.01
