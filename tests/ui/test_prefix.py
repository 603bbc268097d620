"""The page below a path prefix: it asks for nothing outside of it."""

from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Route, expect

from tests.ui.test_row import PREDICTION

pytestmark = pytest.mark.ui

PREFIX = "/models/below"


def test_the_page_works_below_a_prefix(page, service):
    paths = []

    def forward(route: Route) -> None:
        """As a proxy that removes the prefix."""
        path = urlsplit(route.request.url).path
        paths.append(path)
        inner = route.request.url.replace(PREFIX, "", 1) if path.startswith(PREFIX) else route.request.url
        route.fulfill(response=route.fetch(url=inner))

    page.route("**/*", forward)
    page.goto(f"{service.address}{PREFIX}/#model=penguins")
    expect(page.get_by_test_id("sentence")).to_be_visible()
    expect(page.locator(PREDICTION)).to_contain_text("Chinstrap")
    with page.expect_download() as download:
        page.get_by_role("button", name="SVG").click()
    assert "Why penguins says" in download.value.path().read_text()
    page.get_by_role("link", name="What this means").click()
    expect(page.locator("#reading")).to_be_visible()
    page.get_by_role("link", name="Back to the page").click()
    expect(page.get_by_test_id("sentence")).to_be_visible()
    assert {f"{PREFIX}/predict", f"{PREFIX}/explain", f"{PREFIX}/help"} <= set(paths)
    assert [path for path in paths if not path.startswith(f"{PREFIX}/")] == []
