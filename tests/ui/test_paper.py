"""An explanation on paper and as text."""

import re

import pytest
from playwright.sync_api import expect

from tests.ui.test_row import PREDICTION, opened

pytestmark = pytest.mark.ui


@pytest.mark.parametrize(("model", "now"), [("penguins", {"island": "Biscoe"}), ("digits", {}), ("places", {})])
def test_an_explanation_is_printed_on_one_page(model, now, page, service):
    opened(page, service, model, now=now)
    expect(page.locator(".why .picture svg").first).to_be_visible()
    if now:
        expect(page.locator(".changed .picture svg")).to_be_visible()
    printed = page.pdf(format="A4", print_background=True)
    assert len(re.findall(rb"/Type\s*/Page\b", printed)) == 1
    page.emulate_media(media="print")
    for part in (".why .picture", PREDICTION, ".facts"):
        expect(page.locator(part).first).to_be_visible()
    for part in ("header", ".form", ".asked", ".keep"):
        expect(page.locator(part).first).to_be_hidden()


def test_an_explanation_is_copied_as_text(page, service):
    opened(page, service, "penguins")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("summary", has_text="The numbers").click()
    page.get_by_role("button", name="Copy as text").click()
    expect(page.locator("[role=status]", has_text="Copied")).to_be_visible()
    copied = page.evaluate("navigator.clipboard.readText()")
    for sentence in page.get_by_test_id("sentence").locator("p:not(.hint, .warning)").all_inner_texts():
        assert sentence in copied
    for row in page.locator(".why table tbody tr").all():
        label, number = row.locator("th").inner_text(), row.locator("td").first.inner_text()
        assert f"{label}: {number}" in copied
    assert page.locator(".facts dd").nth(1).inner_text() in copied
