import time
from threading import Thread

import numpy as np
import pytest
import shap
import torch

from tests.explain.trained import trained
from tests.explain.zoo.case import Lambda
from tests.explain.zoo.networks import BY_NAME
from whyserve.errors import TooManyPlayers
from whyserve.explain.game.base import Limits, Stopped
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.exact import Exact
from whyserve.explain.methods.kernel import Kernel


@pytest.mark.parametrize("name", ["mlp_softmax", "two_inputs", "bag_of_tokens", "mixer"])
def test_equals_exact_with_every_coalition(name):
    case = BY_NAME[name]
    network = case.network()
    background, rows = case.rows()
    wanted = torch.tensor([[0, 1], [1, 0], [0, 1]]) % network(rows).shape[1]
    answer = Kernel(network, background, case.players).explain(rows, wanted, Limits())
    truth = Exact(network, background, case.players).explain(rows, wanted, Limits()).values
    assert torch.allclose(answer.values, truth, atol=1e-6)
    assert answer.residuals.abs().max() < 1e-6


def prepared(rows_of_background: int = 20) -> tuple[Kernel, dict[str, torch.Tensor], torch.Tensor]:
    network, background, rows = trained("breast_cancer", "relu")
    players = Players.elements({"x": (30,)})
    kernel = Kernel(network, {"x": background[:rows_of_background]}, players)
    return kernel, {"x": rows[:2]}, torch.tensor([[0], [1]])


def test_equals_shap_on_the_rows():
    kernel, rows, wanted = prepared()
    answer = kernel.explain(rows, wanted, Limits(samples=300, seed=7))

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return kernel.passes.network({"x": torch.from_numpy(x).float()}).numpy()

    np.random.seed(7)
    explainer = shap.KernelExplainer(predict, kernel.passes.background["x"].numpy())
    own = explainer.shap_values(rows["x"].numpy()[:1], nsamples=300, l1_reg=0, silent=True)
    assert answer.values[0, 0].numpy() == pytest.approx(own[0, :, 0], abs=1e-5)


def test_a_seed_gives_the_same_values_in_any_batch_and_keeps_numpys_state():
    kernel, rows, wanted = prepared()
    np.random.seed(3)
    expected = np.random.rand(3).tolist()
    np.random.seed(3)
    together = kernel.explain(rows, wanted, Limits(samples=100, seed=5)).values
    assert np.random.rand(3).tolist() == expected
    alone = kernel.explain({"x": rows["x"][1:]}, wanted[1:], Limits(samples=100, seed=5)).values
    assert torch.allclose(alone[0], together[1], atol=1e-6)
    assert not torch.allclose(kernel.explain(rows, wanted, Limits(samples=100, seed=6)).values, together, atol=1e-4)
    got = [torch.empty(0)] * 4

    def call(place: int) -> None:
        got[place] = kernel.explain(rows, wanted, Limits(samples=100, seed=5)).values

    threads = [Thread(target=call, args=(place,)) for place in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(values, together) for values in got)


def test_stops_and_reports_progress():
    kernel, rows, wanted = prepared()
    with pytest.raises(Stopped):
        kernel.explain(rows, wanted, Limits(deadline=time.monotonic() - 1))
    shares: list[float] = []

    def on_progress(share: float) -> bool:
        shares.append(share)
        return True

    answer = kernel.explain(rows, wanted, Limits(samples=200, on_progress=on_progress))
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert answer.rows_evaluated == pytest.approx(2 * 200 * 20, rel=0.05)


def test_too_many_players_are_refused():
    network = Network(Lambda(lambda _, x: x.sum(-1)), ("x",))
    with pytest.raises(TooManyPlayers, match="at most 512 players, and this model has 600"):
        Kernel(network, {"x": torch.zeros(2, 600)}, Players.elements({"x": (600,)}))
