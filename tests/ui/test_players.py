"""Players that people know: patches, regions, windows, channels, words and groups, drawn and listed."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.conftest import example
from tests.ui.test_reasons import INSIDE
from tests.ui.test_row import advanced, numbers, opened

pytestmark = pytest.mark.ui


def explained(client, model: str, players: object) -> dict[str, Any]:
    answer = client.post("/explain", json={**example(model), "players": players}).json()
    first: dict[str, Any] = answer["explanations"][0]
    return first


def check_numbers(page: Page, shares: list[dict[str, Any]], factor: float = 1.0) -> None:
    """The table has one line per player, with its attribution."""
    shown = numbers(page)
    assert len(shown) >= len(shares)
    for share in shares:
        (said,) = [text for label, text in shown.items() if label.endswith(share["player"])]
        assert float(said.replace("−", "-")) == pytest.approx(factor * share["value"], rel=2e-2, abs=0.06)


@pytest.mark.parametrize("players", [{"patches": [4, 2]}, {"superpixels": 8}])
def test_regions_are_outlined_over_the_picture(players, page, service, client):
    given = {"image": players}
    opened(page, service, "digits", players=given)
    found = explained(client, "digits", given)
    shares = found["outputs"][0]["attributions"]["image"]
    line = page.locator(".why .chart path.outlines")
    drawn = line.get_attribute("d") or ""
    if "box" in shares[0]:  # one unit of a line for each two pixels that are neighbours in different patches
        tops, lefts = {share["box"][0] for share in shares}, {share["box"][1] for share in shares}
        assert drawn.count("M") == 8 * (len(tops) - 1) + 8 * (len(lefts) - 1)
    else:
        labels = [label for label, count in found["masks"]["image"]["runs"] for _ in range(count)]
        right = sum(labels[at] != labels[at + 1] for at in range(64) if at % 8 < 7)
        below = sum(labels[at] != labels[at + 8] for at in range(56))
        assert drawn.count("M") == right + below
    largest = max(shares, key=lambda share: abs(share["value"]))
    expect(page.get_by_test_id("strongest")).to_contain_text(f"the largest effect is {largest['player']}, ")
    page.get_by_role("button", name="Picture", exact=True).click()
    expect(line).to_have_count(0)
    check_numbers(page, shares, 100)


def test_the_pixels_of_a_patch_have_one_colour(page, service):
    opened(page, service, "digits", players={"image": {"patches": [2, 2]}})
    page.get_by_role("button", name="Effects only").click()
    colours = page.evaluate("""async () => {
      const image = new Image(); image.src = document.querySelectorAll('.why .chart svg image')[1].getAttribute('href');
      await image.decode();
      const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
      const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, 8, 8);
      return Array.from({ length: 64 }, (_, at) => Array.from(data.slice(4 * at, 4 * at + 4)).join()); }""")
    for top, left in ((0, 0), (0, 4), (4, 0), (4, 4)):
        assert len({colours[8 * (top + y) + left + x] for y in range(4) for x in range(4)}) == 1
    assert len(set(colours)) >= 3


def test_windows_are_shaded_under_the_curve(page, service, client):
    opened(page, service, "sunspots", players={"past": {"windows": 5}})
    shares = explained(client, "sunspots", {"past": {"windows": 5}})["outputs"][0]["attributions"]["past"]
    shades = page.locator(".why .chart svg .window rect")
    expect(shades).to_have_count(5)
    strengths = [float(shades.nth(at).get_attribute("fill-opacity") or 0) for at in range(5)]
    assert max(range(5), key=strengths.__getitem__) == max(range(5), key=lambda at: abs(shares[at]["value"]))
    widths = [float(shades.nth(at).get_attribute("width") or 0) for at in range(5)]
    assert max(widths) < 1.05 * min(widths)
    check_numbers(page, shares)


def test_words_are_coloured_with_a_legend(page, service, client):
    opened(page, service, "places")
    advanced(page, "players", json.dumps({"name": {"words": True}}, separators=(",", ":")))
    drawn = page.locator(".why .beside svg svg").first
    shares = explained(client, "places", {"name": {"words": True}})["outputs"][0]["attributions"]["name"]
    expect(drawn.locator("rect")).to_have_count(len(shares))
    assert drawn.locator("text").all_text_contents()[::2] == [share["player"] for share in shares]
    expect(page.locator(".why .beside svg svg").nth(1)).to_contain_text("lowers")
    assert list(numbers(page)) == [f"“{share['player']}”" for share in shares]
    # The address restores the players, and the model's own players stay reachable.
    assert "players=" in page.url
    page.reload()
    expect(drawn.locator("rect")).to_have_count(len(shares))
    advanced(page, "players", "")
    expect(drawn.locator("rect")).not_to_have_count(len(shares))
    assert "players=" not in page.url


def test_groups_of_features_have_bars(page, service, client):
    given = {"groups": {"size": ["bill_length_mm", "body_mass_g"]}}
    opened(page, service, "penguins", players=given)
    (share,) = explained(client, "penguins", given)["outputs"][0]["players"]
    shown = numbers(page)
    assert len(shown) == 5
    said = shown["size (bill length, body mass)"]
    assert float(said.replace("−", "-")) == pytest.approx(100 * share["value"], abs=0.06)
    words = page.locator(".why .chart .picture").first.get_attribute("aria-label") or ""
    assert "size (bill length, body mass) +" in words


def test_a_held_input_has_no_bar_and_no_picture(page, service):
    opened(page, service, "elnino", players={"hold": ["past"]})
    assert len(numbers(page)) == 1
    expect(page.locator(".why .chart")).to_have_count(1)


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize(
    "case",
    [
        ("digits", {"image": {"superpixels": 8}}),
        ("sunspots", {"past": {"windows": 10}}),
        ("elnino", {"past": {"channels": True}}),
        ("elnino", {"past": {"windows": 3, "channels": ["sea surface temperature"]}}),
        ("places", {"name": {"words": True}}),
        ("penguins", {"groups": {"size": ["bill_length_mm", "flipper_length_mm", "body_mass_g"]}}),
    ],
    ids=lambda case: f"{case[0]}-{next(iter(next(iter(case[1].values()))))}",
)
def test_all_labels_of_players_are_inside_the_picture(case, width, page, service):
    model, players = case
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, service, model, players=players)
    expect(page.locator(".why .picture svg").first).to_be_visible()
    assert page.evaluate(INSIDE) == []


def test_players_are_saved_as_the_picture_of_the_service(page, service, client):
    players = {"image": {"patches": [4, 4]}}
    opened(page, service, "digits", players=players)
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").first.click()
    label = client.post("/predict", json=example("digits")).json()["predictions"][0]["label"]
    body = example("digits") | {"outputs": [label], "players": players}
    drawn = client.post("/explain", json=body, headers={"Accept": "image/svg+xml"}).content
    assert download.value.path().read_bytes() == drawn


def test_a_change_compares_players_of_both_rows(page, service):
    opened(page, service, "sunspots", players={"past": {"windows": 4}})
    field = page.get_by_label("past", exact=True)
    field.fill(re.sub(r"\S+$", "150", field.input_value()))
    changed = page.locator(".changed .picture").first
    expect(changed).to_have_attribute("aria-label", re.compile("steps 15 to 19"))
