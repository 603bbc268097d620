import time
from itertools import count
from threading import Thread

import pytest
import shap
import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.zoo.case import Lambda
from tests.explain.zoo.dense import mlp
from tests.explain.zoo.vision import small_cnn
from whyserve.errors import InvalidInput, UnsupportedNetwork
from whyserve.explain.certificate.certify import certify
from whyserve.explain.game.base import Limits, Stopped
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.deep import Deep

FIRST = torch.zeros(3, 1, dtype=torch.int64)


def of(module: nn.Module, *shape: int, background: int = 8, **settings) -> Deep:
    torch.manual_seed(1)
    rows = torch.randn(background, *shape)
    return Deep(Network(module.eval(), ("x",)), {"x": rows}, Players.elements({"x": shape}), **settings)


def of_function(function, *shape: int, **modules: nn.Module) -> Deep:
    return of(Lambda(function, **modules), *(shape or (6,)))


def prepared(rows: int = 3, **settings):
    torch.manual_seed(0)
    deep = of(mlp(6, 16, 16, 3, activation=nn.GELU, last=nn.Softmax(-1)), 6, **settings)
    return deep, {"x": torch.randn(rows, 6)}


def test_a_product_and_a_sum_equal_values_by_hand():
    """x₀x₁ + 2x₂ from (1, 1, 0) to (3, 5, 1): of the product's 14, x₀ gets 2 · 3, at x₁'s midpoint, and x₁ gets 8."""
    network = Network(Lambda(lambda _, x: x[:, 0] * x[:, 1] + 2 * x[:, 2]), ("x",))
    deep = Deep(network, {"x": torch.tensor([[1.0, 1.0, 0.0]])}, Players.elements({"x": (3,)}))
    answer = deep.explain({"x": torch.tensor([[3.0, 5.0, 1.0]])}, FIRST[:1], Limits())
    assert answer.values[0, 0].tolist() == pytest.approx([6, 8, 2], rel=1e-6)
    assert answer.base_values.item() == pytest.approx(1)
    assert answer.standard_errors is None


def test_only_the_outputs_wanted_and_in_their_order():
    deep, rows = prepared()
    every = deep.explain(rows, torch.arange(3).expand(3, 3), Limits()).values
    some = torch.tensor([[2, 0], [1, 1], [0, 2]])
    answer = deep.explain(rows, some, Limits())
    assert torch.allclose(answer.values, torch.stack([every[i, some[i]] for i in range(3)]), atol=1e-6)


def test_chunks_and_other_rows_do_not_change_a_row():
    deep, rows = prepared(7)
    wanted = torch.arange(3).expand(7, 3)
    whole = deep.explain(rows, wanted, Limits()).values
    small, _ = prepared(memory_bytes=8_000)
    assert small.chunk_rows < 8 * 3
    assert torch.allclose(small.explain(rows, wanted, Limits()).values, whole, atol=1e-6)
    alone = torch.cat([deep.explain({"x": x[None]}, wanted[:1], Limits()).values for x in rows["x"]])
    assert torch.allclose(alone, whole, atol=1e-6)


def test_a_background_too_large_to_keep_is_run_again():
    deep, rows = prepared(memory_bytes=1000)
    assert deep.background_values.kept is None
    kept, _ = prepared()
    assert kept.background_values.kept is not None
    one, other = (d.explain(rows, FIRST, Limits()).values for d in (deep, kept))
    assert torch.allclose(one, other, atol=1e-6)


def test_many_threads_get_the_same_answer_and_leave_the_network_unchanged():
    deep, rows = prepared()
    before = {key: value.clone() for key, value in deep.network.module.state_dict().items()}
    alone = deep.explain(rows, FIRST, Limits()).values
    found: list[torch.Tensor] = []
    threads = [Thread(target=lambda: found.append(deep.explain(rows, FIRST, Limits()).values)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(torch.equal(values, alone) for values in found)
    assert all(torch.equal(value, before[key]) for key, value in deep.network.module.state_dict().items())
    assert not any(p.grad is not None for p in deep.network.module.parameters())


def test_progress_is_reported_by_chunk_and_ends_at_one():
    deep, rows = prepared(memory_bytes=8_000)
    reported: list[float] = []

    def report(share: float) -> bool:
        reported.append(share)
        return True

    deep.explain(rows, FIRST, Limits(on_progress=report))
    assert len(reported) > 3
    assert reported == sorted(reported)
    assert reported[-1] == 1.0


@pytest.mark.parametrize("after", [0, 2])
def test_a_stop_takes_effect_at_the_next_chunk(after: int):
    deep, rows = prepared(memory_bytes=8_000)
    asked = count()
    with pytest.raises(Stopped):
        deep.explain(rows, FIRST, Limits(on_progress=lambda _: next(asked) < after))
    assert next(asked) == after + 1


def test_a_deadline_past_stops():
    deep, rows = prepared()
    with pytest.raises(Stopped):
        deep.explain(rows, FIRST, Limits(deadline=time.monotonic() - 1))


def test_an_operation_without_a_rule_is_named_in_one_line():
    with pytest.raises(UnsupportedNetwork) as refused:
        of_function(lambda _, x: x.sort(-1).values)
    assert refused.value.message == "deep has no rule for aten.sort; use another method"


def test_the_certificate_says_why_deep_is_not_offered():
    module = Lambda(lambda _, x: x.sort(-1).values[:, :2])
    certificate = certify(
        Network(module, ("x",)), {"x": torch.randn(12, 4)}, Players.elements({"x": (4,)}), budget_ms=20
    )
    assert certificate["methods"]["deep"] == {
        "fits": False,
        "why": "deep has no rule for aten.sort; use another method",
    }
    assert certificate["default"] != "deep"


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _, x: x.softmax(0), "rows of (the|its) batch|mixes rows"),
        (lambda _, x: x - x.mean(0, keepdim=True), "mixes rows"),
        (lambda _, x: x + x.sum(), "mixes rows"),
        (lambda _, x: x.reshape(len(x), -1), r"its code fixes the number of rows, as len\(x\)"),
        (lambda _, x: x * (2 if x.shape[0] > 5 else 1), "depend on how many rows there are"),
        (lambda _, x: x.T, "returns shape|mixes rows|batch"),
        (lambda _, x: x[:, :, None], "returns shape"),
        (lambda _, x: (x, x), "returns"),
        (lambda _, x: x / (x - x), "non-finite|not finite"),
        (lambda _, x: x + torch.rand_like(x), "random"),
        (lambda _, x: F.dropout(x, 0.5, training=True), "random"),
        (lambda _, x: F.batch_norm(x, None, None, training=True), "rows of (the|its) batch|mixes rows"),
        (lambda _, x: x if x.sum() > 0 else -x, "traced"),
        (lambda _, x: torch.ones(x.shape[0], 2), "does not depend"),
        (lambda _, x: torch.fft.rfft(x).abs(), "complex numbers, as in aten._fft_r2c"),
    ],
)
def test_an_unsupported_network_is_refused_at_construction(function, message: str):
    with pytest.raises(UnsupportedNetwork, match=message):
        of_function(function)


def test_a_non_finite_value_is_an_error():
    deep = of_function(lambda _, x: torch.exp(x * 30))
    with pytest.raises(UnsupportedNetwork, match="non-finite"):
        deep.explain({"x": torch.full((3, 6), 40.0)}, FIRST, Limits())


def test_rows_of_another_shape_are_refused():
    deep, _ = prepared()
    with pytest.raises(InvalidInput, match="explained rows"):
        deep.explain({"x": torch.zeros(3, 5)}, FIRST, Limits())


@pytest.mark.parametrize("background", [torch.zeros(0, 6), torch.zeros(4, 5)])
def test_a_background_that_does_not_fit_is_refused(background: torch.Tensor):
    with pytest.raises(UnsupportedNetwork, match="the background"):
        Deep(Network(mlp(6, 4, 2), ("x",)), {"x": background}, Players.elements({"x": (6,)}))


@pytest.mark.parametrize(
    ("build", "shape", "rows", "ratio"),
    [
        (lambda: mlp(30, 64, 64, 2), (30,), 1, 4),
        (lambda: mlp(30, 64, 64, 2), (30,), 16, 20),
        (small_cnn, (1, 14, 14), 1, 3),
    ],
)
def test_many_times_faster_than_shap(build, shape: tuple[int, ...], rows: int, ratio: float):
    """Half of the ratios of `make bench-explain` on an idle machine, because other jobs may run on this one."""
    torch.manual_seed(0)
    module = build().eval()
    deep = of(module, *shape, background=100)
    theirs = shap.DeepExplainer(module, deep.background["x"])
    x, wanted = torch.randn(rows, *shape), torch.zeros(rows, 1, dtype=torch.int64)
    seconds: dict[str, list[float]] = {"ours": [], "theirs": []}
    for _ in range(7):
        began = time.perf_counter()
        deep.explain({"x": x}, wanted, Limits())
        seconds["ours"].append(time.perf_counter() - began)
        began = time.perf_counter()
        theirs.shap_values(x, check_additivity=False)
        seconds["theirs"].append(time.perf_counter() - began)
    assert min(seconds["theirs"]) >= ratio * min(seconds["ours"])
