"""Eight sensors with names: a model that is not shipped, drawn on the page."""

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from torch import nn

import whyserve
from tests.conftest import start_service
from tests.ui.test_reasons import INSIDE
from tests.ui.test_row import opened

pytestmark = pytest.mark.ui

SENSORS = [f"sensor {letter}" for letter in "ABCDEFGH"]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A service with a small network for eight sensors."""
    root = tmp_path_factory.mktemp("sensors")
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(12 * 8, 16), nn.Tanh(), nn.Linear(16, 1))
    series = np.random.default_rng(0).normal(size=(10, 12, 8)).cumsum(1).astype(np.float32)
    whyserve.package(
        network, root / "models" / "machine", background=series, names=["wear"], kinds={"input": "sequence"},
        artifacts=root / "artifacts",
    )  # fmt: skip
    running = start_service(root / "artifacts", root / "state", models=root / "models")
    running.await_line(r"ready on ")
    yield running
    assert running.stop() == 0, running.output


def explained(running, model, players):
    with running.client() as client:
        instances = client.get(f"/models/{model}").json()["example"]["instances"]
        answer = client.post("/explain", json={"model": model, "instances": instances, "players": players})
    return answer.json()["explanations"][0]


@pytest.mark.parametrize("width", [1280, 390])
def test_sensors_are_small_multiples_with_their_names(width, page, small):
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, small, "machine", players={"input": {"channels": SENSORS}})
    shares = explained(small, "machine", {"input": {"channels": SENSORS}})["outputs"][0]["attributions"]["input"]
    lines = page.locator(".why .chart").nth(1).locator("svg svg")
    expect(lines).to_have_count(9)  # one per sensor, and the scale of the colours
    for place, share in enumerate(shares):
        name = lines.nth(place).locator("text").filter(has_text=share["player"])
        said = (name.text_content() or "").removeprefix(f"{share['player']} (").removesuffix(")").replace("−", "-")
        assert float(said) == pytest.approx(share["value"], rel=1e-2, abs=1e-3)
    assert page.evaluate(INSIDE) == []
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_windows_of_each_sensor_are_shaded_and_elements_have_a_heatmap(page, small):
    opened(page, small, "machine", players={"input": {"windows": 4, "channels": SENSORS}})
    expect(page.locator(".why .chart svg .window rect")).to_have_count(4 * 8)
    assert page.evaluate(INSIDE) == []
    opened(page, small, "machine", players={})
    expect(page.locator(".why .chart svg .window rect")).to_have_count(0)
    expect(page.locator(".why .chart").nth(1).locator("svg svg")).to_have_count(11)  # lines, bars, heatmap, scale
