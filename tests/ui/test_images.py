"""The pictures of docs/page.md. WHYSERVE_IMAGES=1 writes them to docs/images."""

import pytest
from playwright.sync_api import expect

from tests.ui.test_beside import panel
from tests.ui.test_row import opened
from tests.ui.test_table import as_csv, explain, table
from tests.ui.test_table import opened as opened_table

pytestmark = pytest.mark.ui


@pytest.mark.parametrize(
    "case",
    [
        ("page-table", "penguins", {"island": "Biscoe", "body_mass_g": "5000"}),
        ("page-image", "digits", {}),
        ("page-text", "places", {}),
        ("page-patches", "digits", {}, {"image": {"patches": [4, 4]}}),
        ("page-windows", "sunspots", {}, {"past": {"windows": 5}}),
    ],
    ids=lambda case: case[0],
)
def test_one_row(case, page, service, shot):
    name, model, now, *players = case
    opened(page, service, model, now=now, **({"players": players[0]} if players else {}))
    expect(page.locator(".why .picture svg").first).to_be_visible()
    if now:
        expect(page.locator(".changed .picture svg")).to_be_visible()
    shot(name)


def test_a_table(page, service, artifacts, shot):
    opened_table(page, service, "penguins")
    page.get_by_label("Paste a table").fill(as_csv(table("penguins", artifacts, 100)))
    explain(page)
    expect(page.get_by_test_id("summed")).to_have_text("100 rows, explained for Adelie.")
    expect(page.locator(".picture > svg")).to_be_visible()
    shot("page-rows")


def test_the_panels_below_an_explanation(page, service, shot):
    opened(page, service, "penguins")
    for name in ("reasons", "counterfactuals", "similar"):
        panel(page, name)
    expect(page.locator("[data-testid=counterfactuals] li")).to_have_count(3)
    expect(page.locator("[data-testid=similar] tbody tr")).to_have_count(5)
    shot("page-more")


def test_on_a_phone_and_in_the_dark(page, service, shot):
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    opened(page, service, "penguins", now={"island": "Biscoe", "body_mass_g": "5000"})
    expect(page.locator(".changed .picture svg")).to_be_visible()
    page.locator(".changed").evaluate("it => it.scrollIntoView()")
    shot("page-phone", whole=False)
