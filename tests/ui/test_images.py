"""The pictures of docs/page.md. WHYSERVE_IMAGES=1 writes them to docs/images."""

import os

import pytest
from playwright.sync_api import expect

from tests.conftest import ROOT
from tests.ui.test_row import opened
from tests.ui.test_table import as_csv, explain, table
from tests.ui.test_table import opened as opened_table

pytestmark = pytest.mark.ui


@pytest.fixture
def shot(page, tmp_path):
    """Save the page as an image with this name."""
    folder = ROOT / "docs" / "images" if os.environ.get("WHYSERVE_IMAGES") else tmp_path

    def save(name):
        page.screenshot(path=folder / f"{name}.png", full_page=True)
        assert (folder / f"{name}.png").stat().st_size > 10_000

    return save


@pytest.mark.parametrize(
    "case",
    [
        ("page-table", "penguins", {"island": "Biscoe", "body_mass_g": "5000"}),
        ("page-image", "digits", {}),
        ("page-text", "places", {}),
    ],
    ids=lambda case: case[1],
)
def test_one_row(case, page, service, shot):
    name, model, now = case
    opened(page, service, model, now=now)
    expect(page.locator(".why .picture svg").first).to_be_visible()
    if now:
        expect(page.locator(".changed .picture svg")).to_be_visible()
    shot(name)


def test_a_table(page, service, artifacts, shot):
    opened_table(page, service, "penguins")
    page.get_by_label("Paste a table").fill(as_csv(table("penguins", artifacts, 100)))
    explain(page)
    expect(page.get_by_test_id("summed")).to_contain_text("100 rows")
    expect(page.locator(".picture > svg")).to_be_visible()
    shot("page-rows")
