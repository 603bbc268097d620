"""A service that requires a key: the page asks for it, reports a wrong one and keeps the right one in the tab."""

import subprocess
import sys

import pytest
from playwright.sync_api import expect

from tests.conftest import ROOT, start_service

pytestmark = pytest.mark.ui


def fresh_key():
    done = subprocess.run(
        [sys.executable, "-m", "whyserve.cli", "key", "browser"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    key, line = (part.partition(": ")[2] for part in done.stdout.splitlines()[:2])
    return key, line


def test_the_page_asks_for_a_key_and_keeps_it_in_the_tab_only(page, artifacts, tmp_path, console):
    key, line = fresh_key()
    (tmp_path / "keys").write_text(f"{line}\n")
    running = start_service(artifacts, tmp_path / "state", "--keys-file", str(tmp_path / "keys"))
    try:
        page.goto(f"{running.address}/#model=fclayer")
        asked = page.get_by_test_id("key")
        # Nothing was typed yet, so there is no error.
        expect(asked).to_contain_text("Enter your access key.")
        expect(asked.get_by_role("alert")).to_have_count(0)
        asked.get_by_label("Access key", exact=True).fill("whyserve_wrong")
        asked.get_by_role("button").click()
        expect(asked.get_by_role("alert")).not_to_be_empty()
        asked.get_by_label("Access key", exact=True).fill(key)
        asked.get_by_role("button").click()
        expect(page.get_by_test_id("sentence")).to_be_visible()
        expect(asked).to_have_count(0)
        assert page.evaluate("Object.values(localStorage).length + document.cookie.length") == 0
        assert key not in page.url
        other = page.context.new_page()
        other.goto(running.address)
        expect(other.get_by_test_id("key")).to_be_visible()
        console.expect("401")
    finally:
        assert running.stop() == 0, running.output
