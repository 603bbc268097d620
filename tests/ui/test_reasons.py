"""The sentences about reasons say what the numbers say, and the charts show every label and value."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest
from playwright.sync_api import expect

from tests.conftest import MODELS, example, shipped
from tests.ui.test_row import PREDICTION, advanced, opened

pytestmark = pytest.mark.ui


def flat(value):
    if isinstance(value, list):
        return [number for part in value for number in flat(part)]
    return [value["value"] if isinstance(value, dict) else value]


@pytest.mark.parametrize("model", shipped())
def test_the_sentence_states_the_share_that_its_reasons_cover(model, page, service, client):
    opened(page, service, model)
    sentence = page.get_by_test_id("sentence").inner_text()
    assert "most" not in sentence.lower()
    answer = client.post("/explain", json=example(model)).json()
    (output, *_) = answer["explanations"][0]["outputs"]
    sizes = sorted((abs(number) for number in flat(list(output["attributions"].values()))), reverse=True)
    found = re.search(r"(?:This|These) (\w+) reasons? makes? up ([\d.]+) % of all effects", sentence)
    if model == "digits":
        assert found is None  # a picture has a sentence about its strongest region
        return
    if sizes[0] < 0.1 * sum(sizes):
        assert "No single reason stands out" in sentence
        return
    assert found is not None
    count = 1 if found[1] == "one" else int(found[1])
    covered = [sum(sizes[: number + 1]) / sum(sizes) for number in range(len(sizes))]
    wanted = min(4, 1 + next(number for number, share in enumerate(covered) if share >= 0.6))
    assert count == wanted
    assert float(found[2]) == pytest.approx(100 * covered[count - 1], abs=0.6)
    assert sentence.count("(+") + sentence.count("(−") == count
    for line in sentence.splitlines():
        if line.startswith("Raises it"):
            assert "(−" not in line
        if line.startswith("Lowers it"):
            assert "(+" not in line


def test_nothing_moves_the_prediction_of_the_mean_row_of_a_linear_model(page, service):
    with np.load(MODELS / "linear" / "background.npz") as arrays:
        (mean,) = [array.mean(0, dtype=np.float64) for array in arrays.values()]
    opened(page, service, "linear", now={"bmi": f"{mean[0]:.6f}", "bp": f"{mean[1]:.6f}"})
    expect(page.get_by_test_id("sentence")).to_contain_text("Nothing here moves the prediction.")


INSIDE = """() => [...document.querySelectorAll('.picture > svg')].flatMap(svg => {
  const box = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text')].filter(text => {
    const at = text.getBoundingClientRect();
    return at.left < box.left - 1 || at.right > box.right + 1 || at.top < box.top - 1 || at.bottom > box.bottom + 1;
  }).map(text => text.textContent);
})"""


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("model", ["penguins", "breast_cancer", "places", "sunspots", "elnino", "digits"])
def test_all_labels_and_values_are_inside_the_picture(model, width, page, service):
    page.set_viewport_size({"width": width, "height": 844})
    now = {"penguins": {"island": "Biscoe", "body_mass_g": "5000"}, "breast_cancer": {"mean_texture": "25"}}
    opened(page, service, model, now=now.get(model, {}))
    expect(page.locator(".why .picture svg").first).to_be_visible()
    if model in now:
        expect(page.locator(".changed .picture svg")).to_be_visible()
    assert page.evaluate(INSIDE) == []
    # Nothing is cut: no text ends in an ellipsis.
    assert not [text for text in page.locator(".chart svg text").all_text_contents() if "…" in text]


def test_every_value_of_a_change_is_shown_on_a_phone(page, service):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, service, "penguins", now={"island": "Biscoe", "body_mass_g": "5000"})
    drawn = page.locator(".changed .picture svg")
    expect(drawn).to_be_visible()
    texts = drawn.locator("text").all_text_contents()
    assert "changed by" in texts
    assert sum("→" in text for text in texts) == 6
    assert sum(bool(re.fullmatch(r"[+−][\d.]+", text)) for text in texts) >= 6


def test_the_change_leads_with_one_sentence_and_orders_by_change(page, service):
    opened(page, service, "penguins", now={"island": "Biscoe", "body_mass_g": "5000"})
    said = page.get_by_test_id("changed").inner_text()
    before, after = page.get_by_test_id("before").inner_text(), page.locator(PREDICTION).inner_text()
    assert f"The prediction went from {before.removeprefix('At the start: ')} to {after}." in said
    words = page.locator(".changed .picture").get_attribute("aria-label") or ""
    changes = [abs(float(text.replace("−", "-"))) for text in re.findall(r" ([+−]?[\d.]+)[;.](?= |$)", words)]
    assert changes == sorted(changes, reverse=True)
    with page.expect_download() as download:
        page.locator(".changed").get_by_role("button", name="SVG").click()
    saved = ElementTree.fromstring(download.value.path().read_text())
    assert "changed by" in "".join(saved.itertext())


def test_on_a_phone_the_prediction_stays_in_view_while_a_value_is_edited(page, service):
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, service, "penguins")
    field = page.get_by_label("sex", exact=True)
    field.scroll_into_view_if_needed()
    field.select_option("female")
    bar = page.get_by_test_id("phone-bar")
    expect(bar).to_contain_text("was Chinstrap, 89.9 %")
    expect(bar).to_be_in_viewport()
    expect(bar).to_contain_text(page.locator(PREDICTION).inner_text())


def test_the_picture_at_opacity_0_is_the_original(page, service):
    opened(page, service, "digits", players={})
    page.get_by_test_id("opacity").fill("0")
    pixels = page.locator(".why .chart svg image")
    overlay = [pixels.nth(place).get_attribute("href") for place in range(2)]
    page.get_by_role("button", name="Picture", exact=True).click()
    original = [pixels.nth(place).get_attribute("href") for place in range(2)]
    assert overlay == original
    # The second layer is empty.
    alpha = """async (source) => { const image = new Image(); image.src = source; await image.decode();
      const canvas = document.createElement('canvas'); canvas.width = image.width; canvas.height = image.height;
      const context = canvas.getContext('2d'); context.drawImage(image, 0, 0);
      const { data } = context.getImageData(0, 0, image.width, image.height);
      return Math.max(...data.filter((_, at) => at % 4 == 3)); }"""
    assert page.evaluate(alpha, original[1]) == 0
    page.get_by_role("button", name="Effects only").click()
    assert page.evaluate(alpha, pixels.nth(1).get_attribute("href")) > 200
    expect(page.get_by_test_id("strongest")).to_contain_text("The strongest region is the ")


def test_the_accuracy_stands_beside_the_result(page, service):
    opened(page, service, "penguins")
    expect(page.get_by_test_id("accuracy")).to_have_count(0)
    advanced(page, "method", "deep")
    expect(page.get_by_test_id("accuracy")).to_contain_text("The bars are rough: on average they were ")
    # Other players than those of the certificate: only the standard errors say how accurate the bars are.
    opened(page, service, "breast_cancer", players={"groups": {"worst": ["worst_radius", "worst_area"]}})
    expect(page.locator(".facts")).to_contain_text(
        "not checked for this model and these settings; by the standard errors"
    )
    advanced(page, "samples", "16")
    expect(page.get_by_test_id("accuracy")).to_have_count(0)


def test_a_threshold_decides_for_the_explained_label(page, service):
    opened(page, service, "penguins")
    page.get_by_test_id("class").select_option("Adelie")
    expect(page.get_by_test_id("sentence")).to_contain_text("for Adelie")
    page.locator(".advanced summary").click()
    page.get_by_test_id("threshold").fill("5")
    expect(page.get_by_test_id("decision")).to_contain_text("Adelie: ")
    expect(page.get_by_test_id("decision")).to_contain_text("your threshold of 5.0 %")


def test_many_features_can_be_searched_and_sorted(page, service):
    opened(page, service, "breast_cancer")
    fields = page.locator(".field label")
    expect(fields).to_have_count(30)
    page.get_by_label("Search for a feature").fill("texture")
    expect(fields).to_have_count(3)
    page.get_by_label("Search for a feature").fill("")
    page.get_by_label("Only what matters").check()
    assert 3 <= fields.count() < 30
    page.get_by_test_id("order").select_option("important")
    largest = page.locator(".why table tbody tr").first
    page.locator("summary", has_text="The numbers").click()
    expect(largest.locator("th")).to_contain_text(fields.first.inner_text().split(",")[0])
