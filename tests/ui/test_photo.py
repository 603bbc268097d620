"""A photograph as the input of a small network: its views, its regions and the sentence about the strongest one."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.datasets
import torch
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Page, expect
from safetensors.torch import save_file

from tests.conftest import start_service
from tests.ui.test_reasons import INSIDE
from tests.ui.test_row import PREDICTION, numbers, opened

pytestmark = pytest.mark.ui

HEIGHT, WIDTH = 40, 60
PHOTOS = Path(sklearn.datasets.__file__).parent / "images"
PLAYERS = {"x": {"superpixels": 20}}
# The colours of a picture of the page, row by row: red, green, blue, alpha of each pixel.
PIXELS = """async (source) => { const image = new Image(); image.src = source; await image.decode();
  const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
  const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
  return Array.from(context.getImageData(0, 0, image.width, image.height).data); }"""


# Whether a picture is warm: how much red its pixels have above green and blue, where they have any.
NETWORK = """
import torch
from torch import nn


class Warm(nn.Module):
    def __init__(self):
        super().__init__()
        self.filter = nn.Conv2d(3, 1, 3, padding=1, bias=False)

    def forward(self, x):
        warm = 20 * torch.relu(self.filter(x)).mean((1, 2, 3)) - 1
        return torch.stack([-warm, warm], 1).softmax(1)


def build():
    return Warm()
"""
WEIGHTS = torch.tensor([2.0, -1.0, -1.0]).reshape(1, 3, 1, 1).repeat(1, 1, 3, 3) / 9
# The export measures patches of the model: thousands of pixels would take minutes.
SPEC = f"""
name = "warm"
version = 1
framework = "torch"
task = "classification"
description = "Whether a photograph is warm."

[[inputs]]
name = "x"
kind = "image"
dtype = "float32"
shape = [3, {HEIGHT}, {WIDTH}]
range = [0.0, 1.0]

[output]
labels = ["cold", "warm"]
scores = "probabilities"

[explain]
method = "permutation"
players = {{ x = {{ patches = [2, 2] }} }}
"""


def photo(name: str) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) of 0 to 255."""
    with Image.open(PHOTOS / name) as image:
        return np.asarray(image.convert("RGB").resize((WIDTH, HEIGHT)))


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A service with the network. Its background are parts of two photographs."""
    root = tmp_path_factory.mktemp("warm")
    folder = root / "models" / "warm"
    folder.mkdir(parents=True)
    (folder / "model.toml").write_text(SPEC)
    (folder / "network.py").write_text(NETWORK)
    save_file({"filter.weight": WEIGHTS}, folder / "weights.safetensors")
    whole = [np.asarray(Image.open(PHOTOS / name).convert("RGB")) for name in ("china.jpg", "flower.jpg")]
    parts = [image[y : y + HEIGHT, :WIDTH] for image in whole for y in (0, 300)]
    background = np.stack([photo("flower.jpg"), *parts]).transpose(0, 3, 1, 2).astype(np.float32) / 255
    np.savez(folder / "background.npz", x=background)
    (folder / "example.json").write_text(json.dumps({"model": "warm", "instances": [{"x": background[0].tolist()}]}))
    running = start_service(root / "artifacts", root / "state", models=root / "models")
    running.await_line(r"ready on ")
    yield running
    assert running.stop() == 0, running.output


def chosen(page: Page, running, name: str) -> np.ndarray:
    """Choose a photograph, and return the pixels that the page sends: (HEIGHT, WIDTH, 3) of 0 to 1."""
    opened(page, running, "warm", players=PLAYERS)
    with page.expect_request(lambda request: request.url.endswith("/predict")) as asked:
        page.locator("input[type=file]").set_input_files(PHOTOS / name)
    body: Any = asked.value.post_data_json
    (instance,) = body["instances"]
    expect(page.get_by_test_id("changed")).to_be_visible()
    expect(page.locator(".why")).to_have_attribute("aria-busy", "false")
    return np.array(instance["x"]).transpose(1, 2, 0)


def layers(page: Page) -> list[np.ndarray]:
    """The picture and the colours over it, of the current row: (HEIGHT, WIDTH, 4) each."""
    images = page.locator(".why .beside figure").last.locator("svg image")
    expect(images).to_have_count(2)
    found = [page.evaluate(PIXELS, images.nth(place).get_attribute("href")) for place in range(2)]
    return [np.array(each).reshape(HEIGHT, WIDTH, 4) for each in found]


def explained(running, pixels: np.ndarray):
    body = {
        "model": "warm", "players": PLAYERS, "instances": [{"x": pixels.transpose(2, 0, 1).tolist()}],
        "outputs": ["warm"],
    }  # fmt: skip
    with running.client() as client:
        return client.post("/explain", json=body).json()["explanations"][0]


def test_the_views_of_a_photograph(page, warm):
    sent = chosen(page, warm, "china.jpg")
    # The page scales the photograph as other programs do.
    assert np.abs(255 * sent - photo("china.jpg")).mean() < 12
    levels = np.round(255 * sent)
    # The original.
    page.get_by_role("button", name="Picture", exact=True).click()
    picture, colours = layers(page)
    assert np.abs(picture[..., :3] - levels).max() <= 1
    assert colours[..., 3].max() == 0
    expect(page.locator(".why .chart path.outlines")).to_have_count(0)
    # The overlay with the opacity slider: at 0 the pixels of the original.
    page.get_by_role("button", name="Overlay").click()
    page.get_by_test_id("opacity").fill("0")
    picture, colours = layers(page)
    assert np.abs(picture[..., :3] - levels).max() <= 1
    assert colours[..., 3].max() == 0
    # At 1 the picture is grey, so that the only colours are those of the effects.
    page.get_by_test_id("opacity").fill("1")
    picture, colours = layers(page)
    assert np.ptp(picture[..., :3], axis=-1).max() == 0
    assert np.abs(picture[..., 0] - levels @ [0.2126, 0.7152, 0.0722]).max() <= 1.5
    strong = colours[..., 3].astype(int)
    page.get_by_test_id("opacity").fill("0.5")
    half = layers(page)[1][..., 3].astype(int)
    assert np.abs(half - strong / 2).max() <= 1
    # The effects alone: nothing of the picture is left.
    page.get_by_role("button", name="Effects only").click()
    picture, colours = layers(page)
    assert len(np.unique(picture.reshape(-1, 4), axis=0)) == 1
    np.testing.assert_array_equal(colours[..., 3], strong)
    assert strong.max() > 20  # the start row's effects are larger, and both pictures have one scale


def test_regions_are_outlined_and_the_sentence_names_the_strongest(page, warm, shot):
    sent = chosen(page, warm, "flower.jpg")
    expect(page.locator(PREDICTION)).to_contain_text("warm, ")
    found = explained(warm, sent)
    shares = found["outputs"][0]["attributions"]["x"]
    labels = np.repeat(*np.transpose(found["masks"]["x"]["runs"])).reshape(HEIGHT, WIDTH)
    drawn = page.locator(".why .beside figure").last
    right, below = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    outlines = drawn.locator("path.outlines").get_attribute("d") or ""
    assert outlines.count("M") == right.sum() + below.sum()
    # The pixels of a region have one colour: orange raises, blue lowers.
    colours = layers(page)[1]
    for share in shares:
        region = colours[labels == share["label"]]
        assert len(np.unique(region, axis=0)) == 1
        if region[0, 3] > 20:
            assert (region[0, 0] > region[0, 2]) == (share["value"] > 0)
    # The strongest region has a thicker line, a name and a place.
    largest = max(shares, key=lambda share: abs(share["value"]))
    mine = labels == largest["label"]
    border = (mine[:, 1:] != mine[:, :-1]).sum() + (mine[1:] != mine[:-1]).sum()
    assert (drawn.locator("path.strongest").get_attribute("d") or "").count("M") == border
    row, column = (3 * np.argwhere(mine).mean(0) / [HEIGHT, WIDTH]).astype(int)
    names = ["top left", "top", "top right", "left", "centre", "right", "bottom left", "bottom", "bottom right"]
    sentence = page.get_by_test_id("strongest").last
    expect(sentence).to_contain_text(f"the largest effect is {largest['player']}, {names[3 * row + column]}: ")
    shown = numbers(page)
    said = float(shown[largest["player"]].replace("−", "-"))
    assert said == pytest.approx(100 * largest["value"], abs=0.06)
    assert page.evaluate(INSIDE) == []
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    shot("page-photo")


def test_a_photograph_fits_on_a_phone(page, warm):
    page.set_viewport_size({"width": 390, "height": 844})
    chosen(page, warm, "china.jpg")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate(INSIDE) == []
    # The address has no room for a photograph, and the page says so.
    assert len(page.url) < 8000
    expect(page.locator(".form")).to_contain_text("This row is too large for the address")
