"""Accessibility (axe, keyboard, phone width, both themes)."""

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.ui.test_row import opened

pytestmark = pytest.mark.ui


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("model", ["penguins", "digits", "sunspots", "places"])
def test_axe_finds_nothing(model, scheme, page, service):
    page.emulate_media(color_scheme=scheme)
    opened(page, service, model)
    [summary.click() for summary in page.locator("summary").all()]
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_axe_finds_nothing_beside_a_wrong_field(page, service, console):
    opened(page, service, "fclayer")
    page.get_by_label("bmi, kg/m²").fill("heavy")
    expect(page.locator(".field.wrong")).to_have_count(1)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    console.expect("422")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_a_table(scheme, page, service):
    page.emulate_media(color_scheme=scheme)
    page.goto(f"{service.address}/#model=penguins&view=table")
    page.get_by_role("button", name="Explain these rows").click()
    expect(page.get_by_test_id("summed")).to_be_visible()
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_axe_finds_nothing_in_the_help(page, service):
    page.goto(f"{service.address}/help#method")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


@pytest.mark.parametrize("model", ["wine", "digits", "sunspots", "places"])
def test_a_phone_needs_no_sideways_scrolling(model, page, service):
    page.set_viewport_size({"width": 360, "height": 740})
    opened(page, service, model)
    expect(page.locator(".why .picture svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_everything_can_be_reached_by_keyboard(page, service):
    opened(page, service, "fclayer")
    reached = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.textContent.trim()"))
    assert {"field-bmi", "field-bp", "SVG", "PNG", "Advanced", "The numbers"} <= reached
