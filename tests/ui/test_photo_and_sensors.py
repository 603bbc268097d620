"""A photograph with regions and eight sensors with names: models that are not shipped, drawn on the page."""

import numpy as np
import pytest
import torch
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect
from skimage.data import chelsea
from skimage.transform import resize
from torch import nn

import whyserve
from tests.conftest import start_service
from tests.ui.test_reasons import INSIDE
from tests.ui.test_row import numbers, opened

pytestmark = pytest.mark.ui

SENSORS = [f"sensor {letter}" for letter in "ABCDEFGH"]


def photographs(count: int = 12) -> np.ndarray:
    """Cuts of one photograph of a cat: (count, 3, 16, 16), from 0 to 1. They are small, so that the export is quick."""
    whole = chelsea()
    cuts = [whole[20:260, 15 * number : 15 * number + 240] for number in range(count)]
    return (
        np.stack([resize(cut, (16, 16), anti_aliasing=True) for cut in cuts]).transpose(0, 3, 1, 2).astype(np.float32)
    )


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A service with a small network for photographs and one for eight sensors."""
    root = tmp_path_factory.mktemp("small")
    torch.manual_seed(0)
    sees = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 4 * 4, 2))
    feels = nn.Sequential(nn.Flatten(), nn.Linear(24 * 8, 16), nn.Tanh(), nn.Linear(16, 1))
    series = np.random.default_rng(0).normal(size=(20, 24, 8)).cumsum(1).astype(np.float32)
    for name, network, background, more in (
        ("cat", sees, photographs(), {"labels": ["awake", "asleep"], "ranges": {"input": [0, 1]}}),
        ("machine", feels, series, {"names": ["wear"], "kinds": {"input": "sequence"}}),
    ):
        whyserve.package(network, root / "models" / name, background=background, artifacts=root / "artifacts", **more)
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
def test_regions_of_a_photograph_are_outlined(width, page, small):
    players = {"input": {"superpixels": 12, "absent": "blur"}}
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, small, "cat", players=players)
    found = explained(small, "cat", players)
    shares = found["outputs"][0]["attributions"]["input"]
    labels = [label for label, count in found["masks"]["input"]["runs"] for _ in range(count)]
    edges = sum(labels[at] != labels[at + 1] for at in range(16 * 16) if at % 16 < 15)
    edges += sum(labels[at] != labels[at + 16] for at in range(15 * 16))
    drawn = page.locator(".why .chart path.outlines").get_attribute("d") or ""
    assert drawn.count("M") == edges
    largest = max(shares, key=lambda share: abs(share["value"]))
    expect(page.get_by_test_id("strongest")).to_contain_text(f"{largest['player']}: ")
    expect(page.locator(".facts")).to_contain_text("one reference row instead of typical rows (input: blur)")
    assert len(numbers(page)) == len(shares)
    assert page.evaluate(INSIDE) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [1280, 390])
def test_sensors_are_small_multiples_with_their_names(width, page, small):
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, small, "machine", players={"input": {"channels": SENSORS}})
    shares = explained(small, "machine", {"input": {"channels": SENSORS}})["outputs"][0]["attributions"]["input"]
    lines = page.locator(".why .chart").nth(1).locator("svg svg")
    expect(lines).to_have_count(9)  # one per sensor, and the scale of the colours
    for place, share in enumerate(shares):
        name = lines.nth(place).locator("text").filter(has_text=share["player"])
        said = name.inner_text().removeprefix(f"{share['player']} (").removesuffix(")").replace("−", "-")
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
