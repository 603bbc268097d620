"""A table on other scales: a label instead of another one, each row's label instead of its second one, log-odds."""

import csv
import io
import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.ui.test_row import PREDICTION, advanced
from tests.ui.test_table import SUMMED, as_csv, explain, opened, table

pytestmark = pytest.mark.ui

COUNT = 12
ROWS = "[data-testid=rows-table] tbody tr"


@pytest.fixture
def rows(artifacts):
    return table("penguins", artifacts, COUNT)


@pytest.fixture
def listed(page, service, rows):
    """The page with an explained table."""
    opened(page, service, "penguins")
    page.get_by_label("Paste a table").fill(as_csv(rows))
    explain(page)
    expect(page.locator(SUMMED)).to_have_text(f"{COUNT} rows, explained for Adelie.")
    return page


def outputs_of(client, rows, **more) -> list[dict[str, Any]]:
    answer = client.post("/explain", json={"model": "penguins", "instances": rows, **more}).json()
    return [explanation["outputs"][0] for explanation in answer["explanations"]]


def reasons(page: Page, row: int) -> list[float]:
    """The numbers of the three reasons of a row."""
    text = page.locator(ROWS).nth(row).locator("td").nth(2).inner_text()
    return [float(number.replace("−", "-")) for number in re.findall(r"\(([+−][\d.]+)\)", text)]


def largest(output) -> list[float]:
    return sorted(output["attributions"].values(), key=abs, reverse=True)[:3]


def saved(page: Page) -> list[dict[str, str]]:
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    return list(csv.DictReader(io.StringIO(download.value.path().read_text())))


def test_a_label_is_explained_instead_of_another_one(listed, client, rows):
    page = listed
    page.get_by_test_id("instead-of").select_option("Gentoo")
    expect(page.locator(SUMMED)).to_have_text(f"{COUNT} rows, explained for Adelie instead of Gentoo.")
    expect(page.get_by_test_id("scale")).to_contain_text("log(p / q) with p the probability of Adelie and q that of")
    found = outputs_of(client, rows, outputs=["Adelie"], instead_of="Gentoo")
    for row in range(COUNT):
        assert reasons(page, row) == pytest.approx(largest(found[row]), rel=1e-2)
    kept = saved(page)
    assert {line["instead_of"] for line in kept} == {"Gentoo"}
    assert float(kept[5]["value"]) == pytest.approx(found[5]["value"], abs=1e-5)
    page.get_by_test_id("instead-of").select_option("")
    expect(page.locator(SUMMED)).to_have_text(f"{COUNT} rows, explained for Adelie.")
    expect(page.get_by_test_id("scale")).to_have_count(0)


def test_each_label_is_explained_instead_of_its_second_one_with_one_click(listed, client, rows):
    page = listed
    page.get_by_test_id("each-second").click()
    expect(page.locator(SUMMED)).to_have_text(
        f"{COUNT} rows, explained for each row's label instead of its second most likely one."
    )
    predictions = client.post("/predict", json={"model": "penguins", "instances": rows}).json()["predictions"]
    pairs = [sorted(one["scores"], key=one["scores"].__getitem__, reverse=True)[:2] for one in predictions]
    assert len({tuple(pair) for pair in pairs}) > 2
    for row, (first, second) in enumerate(pairs):
        expect(page.locator(ROWS).nth(row)).to_contain_text(f"instead of {second}: ")
        (found,) = outputs_of(client, [rows[row]], outputs=[first], instead_of=second)
        assert reasons(page, row) == pytest.approx(largest(found), rel=1e-2)
    kept = saved(page)
    assert [[line["output"], line["instead_of"]] for line in kept] == pairs
    assert Axe().run(page).violations_count == 0
    # An opened row has the same question, and the table has its own again.
    page.locator(ROWS).nth(3).locator("button").click()
    expect(page.get_by_test_id("sentence")).to_contain_text(f"for {pairs[3][0]} instead of {pairs[3][1]}")
    page.get_by_role("button", name="Next row").click()
    expect(page.get_by_test_id("sentence")).to_contain_text(f"for {pairs[4][0]} instead of {pairs[4][1]}")
    page.get_by_role("button", name="Back to the table").click()
    expect(page.locator(SUMMED)).to_contain_text("each row's label")
    assert "insteadOf" not in page.url
    page.get_by_test_id("each-second").click()
    expect(page.locator(SUMMED)).to_have_text(f"{COUNT} rows, explained for Adelie.")


def test_a_table_is_explained_in_log_odds(listed, client, rows):
    page = listed
    advanced(page, "scale-name", "log_odds")
    expect(page.get_by_test_id("scale")).to_contain_text("Scale: log-odds")
    found = outputs_of(client, rows, outputs=["Adelie"], scale="log_odds")
    for row in range(COUNT):
        assert reasons(page, row) == pytest.approx(largest(found[row]), rel=1e-2)
    # Predictions and scores stay probabilities.
    expect(page.locator(ROWS).first.locator("td").nth(1)).to_contain_text(" %")
    page.locator(ROWS).first.locator("button").click()
    expect(page.get_by_test_id("scale")).to_contain_text("Scale: log-odds")
    expect(page.locator(PREDICTION)).to_contain_text(" %")
