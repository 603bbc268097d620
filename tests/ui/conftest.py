"""Fixtures for the page in Debian's Chromium, with a running service."""

import os
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.conftest import ROOT

# Without Node, tests/api/routes/test_page.py still compares the build with its sources.
collect_ignore = [] if shutil.which("npm") and (ROOT / "ui" / "node_modules").is_dir() else ["test_build.py"]
CHROMIUM = "/usr/bin/chromium"
# A container has no sandbox and no graphics card. The browser must not download anything.
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        expect.set_options(timeout=60_000)  # for a busy machine
        yield browser
        browser.close()


class Console:
    """Errors and warnings in the browser's console. A failed request is logged there too, so a test can expect it."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self._expected: list[str] = []

    def __call__(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.said.append(message.text)

    def expect(self, words: str) -> None:
        """Require a message with these words, and accept it."""
        self._expected.append(words)

    def check(self) -> None:
        missing = [words for words in self._expected if not any(words in line for line in self.said)]
        rest = [line for line in self.said if not any(words in line for words in self._expected)]
        assert (missing, rest) == ([], [])


@pytest.fixture
def console() -> Console:
    return Console()


@pytest.fixture
def page(browser: Browser, console: Console) -> Iterator[Page]:
    """A page in a fresh browser profile. Unexpected console messages fail the test at its end."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.on("console", console)
    page.on("pageerror", lambda error: console.said.append(f"uncaught: {error}"))
    yield page
    context.close()
    console.check()


@pytest.fixture
def shot(page, tmp_path):
    """Save the page, or what is in view, as an image. WHYSERVE_IMAGES=1 writes it to docs/images."""
    folder = ROOT / "docs" / "images" if os.environ.get("WHYSERVE_IMAGES") else tmp_path

    def save(name, whole=True):
        page.screenshot(path=folder / f"{name}.png", full_page=whole)
        assert (folder / f"{name}.png").stat().st_size > 10_000

    return save
