"""The page of the OpenAPI document in a browser: its policy lets it run."""

import pytest
from playwright.sync_api import expect

pytestmark = pytest.mark.ui


def test_the_page_lists_the_operations(page, service):
    page.goto(f"{service.address}/docs")
    expect(page.locator(".opblock-summary-path").first).to_be_visible()
    expect(page.locator("#swagger-ui")).to_contain_text("/explain")
