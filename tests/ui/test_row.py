"""One row: examples, predictions and explanations of every kind of model, what-if changes, errors beside the field."""

import json
import re
from datetime import UTC, datetime
from io import BytesIO
from urllib.parse import parse_qs, quote, urlsplit
from xml.etree import ElementTree

import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from tests.conftest import example, shipped

pytestmark = pytest.mark.ui

PREDICTION = "[data-testid=prediction]"


def opened(page: Page, service, model: str, **state: object) -> Page:
    more = "".join(f"&{key}={quote(json.dumps(value))}" for key, value in state.items())
    page.goto(f"{service.address}/#model={model}{more}")
    expect(page.locator("[data-testid=sentence]")).to_be_visible()
    return page


def advanced(page: Page, name: str, value: str) -> None:
    """Choose a method or a number of samples."""
    if page.locator(".advanced").get_attribute("open") is None:
        page.locator(".advanced summary").click()
    page.get_by_test_id(name).select_option(value)


def numbers(page: Page) -> dict[str, str]:
    """The table under the pictures: each label with its attribution."""
    page.locator("summary", has_text="The numbers").click()
    rows = page.locator(".why table tbody tr")
    return {row.locator("th").inner_text(): row.locator("td").first.inner_text() for row in rows.all()}


@pytest.mark.parametrize("model", shipped())
def test_every_model_shows_its_example_prediction_and_explanation(model, page, service, client):
    opened(page, service, model)
    answer = client.post("/explain", json=example(model)).json()
    (explanation,) = answer["explanations"][:1]
    prediction = explanation["prediction"]
    said = page.locator(PREDICTION).inner_text()
    if "label" in prediction:
        assert said.startswith(f"{prediction['label']}, ")
        share = prediction["scores"][prediction["label"]]
        assert float(re.findall(r"([\d.]+) %$", said)[0]) == pytest.approx(100 * share, abs=0.06)
    else:
        assert float(said.split()[0].replace("−", "-")) == pytest.approx(prediction["value"], rel=1e-3)
    expect(page.locator(".why .picture svg").first).to_be_visible()
    facts = page.locator(".facts").inner_text()
    assert answer["method"] in facts
    assert answer["background"]["sha256"][:8] in facts
    assert f"{answer['background']['rows']} typical rows" in facts
    assert "Adds up" in facts


def test_the_picture_shows_the_numbers_of_the_service(page, service, client):
    opened(page, service, "fclayer")
    (output,) = client.post("/explain", json=example("fclayer")).json()["explanations"][0]["outputs"]
    shown = numbers(page)
    for key, value in output["attributions"].items():
        (said,) = [figure for label, figure in shown.items() if label.startswith(f"{key} = ")]
        assert float(said.replace("−", "-")) == pytest.approx(value, rel=1e-2)
    words = page.locator(".picture").get_attribute("aria-label") or ""
    assert "bmi = 36.1 kg/m²" in words


def test_a_change_shows_both_rows_and_the_address_restores_them(page, service, browser):
    opened(page, service, "penguins")
    first = page.locator(PREDICTION).inner_text()
    page.get_by_label("island", exact=True).select_option("Biscoe")
    page.get_by_label("body mass, g", exact=True).fill("5000")
    expect(page.locator("[data-testid=before]")).to_contain_text(first)
    expect(page.get_by_test_id("changed")).to_contain_text(
        "You changed body mass from 3950 g to 5000 g, island from Dream to Biscoe."
    )
    expect(page.locator(PREDICTION)).to_contain_text("Gentoo")
    changed = page.locator(PREDICTION).inner_text()
    page.get_by_test_id("class").select_option("Adelie")
    expect(page.get_by_test_id("sentence")).to_contain_text("for Adelie")

    other = browser.new_context().new_page()
    other.goto(page.url)
    expect(other.locator(PREDICTION)).to_have_text(changed)
    expect(other.get_by_label("island", exact=True)).to_have_value("Biscoe")
    expect(other.get_by_test_id("sentence")).to_contain_text("for Adelie")
    expect(other.locator("[data-testid=before]")).to_contain_text(first)
    other.context.close()

    page.get_by_role("button", name="Back to the start", exact=True).click()
    expect(page.locator(PREDICTION)).to_have_text(first)
    expect(page.locator("[data-testid=before]")).to_have_count(0)


def test_a_chosen_background_is_in_the_address(page, service, client, browser):
    opened(page, service, "penguins")
    asked = {**example("penguins"), "background": "adelie"}
    answer = client.post("/explain", json=asked).json()
    page.get_by_test_id("background").select_option("adelie")
    facts = page.locator(".facts")
    expect(facts).to_contain_text(
        f"{answer['background']['rows']} typical rows that came with the model (background adelie)"
    )
    expect(facts).to_contain_text(answer["background"]["sha256"][:8])
    shown = numbers(page)
    (output,) = answer["explanations"][0]["outputs"]
    for key, value in output["attributions"].items():
        title = key.removesuffix("_mm").removesuffix("_g").replace("_", " ")
        (said,) = [figure for label, figure in shown.items() if label.startswith(f"{title} = ")]
        assert float(said.split()[0].replace("−", "-")) == pytest.approx(100 * value, abs=0.06)
    other = browser.new_page()
    other.goto(page.url)
    expect(other.locator(".facts")).to_contain_text("(background adelie)")
    other.close()


def test_a_slider_moves_the_number_and_the_prediction(page, service):
    opened(page, service, "linear")
    first = page.locator(PREDICTION).inner_text()
    slider = page.get_by_label("bmi, slider")
    slider.focus()
    for _ in range(5):
        slider.press("ArrowLeft")
    expect(page.get_by_label("bmi, kg/m²")).not_to_have_value("36.1")
    expect(page.locator(PREDICTION)).not_to_have_text(first)


def test_a_typed_text_has_coloured_and_numbered_tokens(page, service, client):
    opened(page, service, "places", now={"name": "Új-Zéland"})
    expect(page.locator(PREDICTION)).to_have_text(re.compile("^Hungarian, "))
    # The text is above the bars.
    texts = page.locator(".why .beside").first
    expect(texts.locator("figcaption")).to_have_text(["At the start", "Now"])
    now = texts.locator("figure").nth(1)
    asked = {"model": "places", "instances": [{"name": "Új-Zéland"}]}
    (output,) = client.post("/explain", json=asked).json()["explanations"][0]["outputs"]
    shares = output["attributions"]["name"]
    words = now.locator(".picture").get_attribute("aria-label") or ""
    assert words.startswith("name: each piece is coloured by how it moves Hungarian: “Új” ")
    drawn = now.locator("svg svg").first
    boxes = drawn.locator("rect")
    expect(boxes).to_have_count(len(shares))
    written = drawn.locator("text").all_text_contents()
    letters, numbers_below = written[::2], written[1::2]
    assert letters == ["Új", "-", "Z", "é", "land", "end of the text"]
    strongest = max(shares, key=lambda token: abs(token["value"]))
    for place, token in enumerate(shares):
        said = float(numbers_below[place].replace("−", "-"))
        assert said == pytest.approx(100 * token["value"], abs=0.06)
        # Orange is positive, blue is negative; the largest attribution has the strongest colour.
        assert boxes.nth(place).get_attribute("fill") == ("#c85200" if token["value"] >= 0 else "#0069a8")
        assert float(boxes.nth(place).get_attribute("fill-opacity") or 0) <= 0.6
    assert float(boxes.nth(shares.index(strongest)).get_attribute("fill-opacity") or 0) == pytest.approx(0.6)
    # The scale below the text ends with the colour of the largest attribution.
    scale = now.locator("svg svg").nth(1).locator("rect")
    assert float(scale.last.get_attribute("fill-opacity") or 0) == pytest.approx(0.6, abs=0.02)
    shown = numbers(page)
    assert list(shown) == ["“Új”", "“-”", "“Z”", "“é”", "“land”", "end of the text"]


@pytest.mark.parametrize(
    "case",
    [
        ("places", "name", "東京", '"name" has no token that this model knows'),
        ("places", "name", "", '"name" must not be empty'),
        ("fclayer", "bmi, kg/m²", "heavy", '"bmi" must be a number'),
        ("fclayer", "bmi, kg/m²", "", '"bmi" is missing'),
        ("fclayer", "bmi, kg/m²", "1e300", '"bmi" holds a number that is too large'),
        ("sunspots", "past", "1 2 3", '"past" must hold at least 20'),
        ("sunspots", "past", "1 2 x", '"past[2]" must be a number'),
    ],
)
def test_a_wrong_field_is_red_and_shows_the_message_of_the_service(case, page, service, console):
    model, label, typed, words = case
    opened(page, service, model)
    said = page.locator(PREDICTION).inner_text()
    field = page.get_by_label(label, exact=True)
    before = field.input_value()
    field.fill(typed)
    wrong = page.locator(".field.wrong")
    expect(wrong).to_have_count(1)
    expect(wrong.get_by_role("alert")).to_contain_text(words)
    expect(field).to_have_attribute("aria-invalid", "true")
    # The last answer stays, marked as old, and the input is kept.
    assert page.locator(PREDICTION).inner_text() == said
    assert field.input_value() == typed
    expect(page.locator(".why .picture svg").first).to_be_visible()
    field.fill(before)
    expect(wrong).to_have_count(0)
    expect(page.locator(".why .old")).to_have_count(0)
    console.expect("422")


def test_an_image_is_drawn_with_pointer_and_keys(page, service):
    opened(page, service, "digits")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("[data-testid=before]")).to_be_visible()
    cleared = page.locator(PREDICTION).inner_text()
    easel = page.get_by_role("application")
    box = easel.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 20)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] - 20, steps=12)
    page.mouse.up()
    expect(page.locator(PREDICTION)).not_to_have_text(cleared)
    drawn = json.loads(json.loads(parse_qs(urlsplit(page.url).fragment)["now"][0])["image"])
    ink = [[pixel[0] for pixel in row] for row in drawn]
    assert max(ink[0][0], ink[7][0], ink[4][7]) == 0
    assert min(row[4] for row in ink) > 10
    easel.focus()
    easel.press("ArrowLeft")
    expect(easel).to_have_attribute("aria-label", re.compile(r"Column 4, row 5\."))
    easel.press(" ")
    expect(page.locator(".why figcaption")).to_have_text(["At the start", "Now"])
    expect(page.get_by_test_id("changed")).to_contain_text("You changed image.")


def test_an_image_is_loaded_from_a_file(page, service, tmp_path):
    opened(page, service, "digits")
    drawn = Image.new("L", (64, 64), 0)
    drawn.paste(255, (28, 4, 38, 60))
    drawn.save(tmp_path / "one.png")
    page.locator("input[type=file]").set_input_files(tmp_path / "one.png")
    expect(page.locator(PREDICTION)).to_contain_text("1, ")
    (tmp_path / "no.png").write_bytes(b"no image")
    page.locator("input[type=file]").set_input_files(tmp_path / "no.png")
    expect(page.locator(".drawing [role=alert]")).to_contain_text("no.png is not a picture")


@pytest.mark.parametrize("kind", ["svg", "png"])
@pytest.mark.parametrize("model", ["wine", "digits"])
def test_a_saved_picture_is_that_of_the_service(model, kind, page, service, client):
    opened(page, service, model)
    with page.expect_download() as download:
        page.get_by_role("button", name=kind.upper()).first.click()
    name = download.value.suggested_filename
    assert name.endswith(f".{kind}")
    assert model in name or "image" in name
    # The same request gives the same bytes: the cache and the seed make the answers equal.
    body = example(model) | {
        "outputs": [client.post("/predict", json=example(model)).json()["predictions"][0]["label"]]
    }
    accepted = {"svg": "image/svg+xml", "png": "image/png"}[kind]
    drawn = client.post("/explain", json=body, headers={"Accept": accepted}).content
    assert download.value.path().read_bytes() == drawn
    if kind == "svg":
        text = "".join(ElementTree.fromstring(drawn.decode()).itertext())
        assert "Method: " in text
        assert "Compared with: the background" in text


def test_the_picture_of_a_change_is_saved_as_it_is_shown(page, service):
    opened(page, service, "penguins", now={"island": "Biscoe"})
    with page.expect_download() as download:
        page.locator(".changed").get_by_role("button", name="SVG").click()
    text = "".join(ElementTree.fromstring(download.value.path().read_text()).itertext())
    assert "island = Biscoe" in text
    # As in the service's own pictures: the method, the background and the day.
    assert "Method: exact. Compared with 100 rows of the background. penguins, version 1." in text
    day = datetime.now(UTC)
    assert f"{day:%B} {day.day}, {day.year}" in text
    with page.expect_download() as download:
        page.locator(".changed").get_by_role("button", name="PNG").click()
    image = Image.open(BytesIO(download.value.path().read_bytes()))
    assert image.width > 1000
    assert len(set(image.convert("RGB").resize((100, 60)).get_flattened_data())) > 20
