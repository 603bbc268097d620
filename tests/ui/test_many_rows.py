"""A table of 100,000 rows: it is read, predicted, sorted, filtered, paged and opened while the page reacts."""

import csv
import io
import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import MODELS
from tests.ui.test_table import SUMMED, explain, opened

pytestmark = pytest.mark.ui

ROWS = 100_000
REFUSED = (11, 50_001, 99_999)  # lines of the table
# How often a timer of 10 ms fires shows whether the page reacts. Long tasks are those of over 50 ms.
WATCH = """() => {
  window.ticks = 0; setInterval(() => ticks++, 10); window.tasks = []; window.began = performance.now();
  const durations = list => list.getEntries().map(each => Math.round(each.duration));
  new PerformanceObserver(list => tasks.push(...durations(list))).observe({type: "longtask"});
  new MutationObserver(() => { if (document.querySelector('tr.opens')) window.first ??= performance.now() - began; })
    .observe(document.body, {childList: true, subtree: true});
}"""


@pytest.fixture(scope="module")
def columns():
    """Rows of the background with noise."""
    with np.load(MODELS / "penguins" / "background.npz") as arrays:
        drawn = np.random.default_rng(0).integers(0, len(arrays["measured"]), ROWS)
        measured, known = arrays["measured"][drawn], arrays["known"][drawn]
    noise = np.random.default_rng(1).normal(0, [2, 1, 5, 200], (ROWS, 4))
    names = ("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g")
    numbers = dict(zip(names, np.round(measured + noise, 2).T.tolist(), strict=True))
    islands = [("Biscoe", "Dream", "Torgersen")[code] for code in known[:, 0]]
    return {**numbers, "island": islands, "sex": [("female", "male")[code] for code in known[:, 1]]}


@pytest.fixture(scope="module")
def predictions(columns, client):
    found = []
    for start in range(0, ROWS, 1000):
        part = {key: values[start : start + 1000] for key, values in columns.items()}
        found += client.post("/predict", json={"model": "penguins", "columns": part}).json()["predictions"]
    return found


@pytest.fixture
def table(columns, tmp_path):
    """A CSV file. Three rows have an unknown island."""
    lines = [list(row) for row in zip([f"P{line}" for line in range(1, ROWS + 1)], *columns.values(), strict=True)]
    for line in REFUSED:
        lines[line - 1][5] = "Mars"
    path = tmp_path / "penguins.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["id", *columns], *lines])
    return path


def rows_of(page: Page):
    return page.locator("[data-testid=rows-table] tbody tr")


def test_a_hundred_thousand_rows_are_usable(page, service, table, predictions, console):
    opened(page, service, "penguins")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url.rpartition("/")[2]))
    page.locator("input[type=file]").set_input_files(table)
    expect(page.get_by_test_id("held")).to_contain_text("Only the beginning of penguins.csv is shown here.")
    assert len(page.get_by_label("Paste a table").input_value()) < 20_000
    page.evaluate(WATCH)
    with page.expect_request("**/predict"):
        explain(page)
    assert page.evaluate("ticks") >= 5  # the table was read in slices
    expect(rows_of(page)).to_have_count(50)
    # The first page has its reasons while the other rows are predicted.
    expect(rows_of(page).first).to_contain_text(re.compile(r"\([+−][\d.]+\), "))
    expect(page.locator(SUMMED)).to_have_text(
        f"{ROWS - len(REFUSED):,} rows, explained for Adelie. The picture shows 500 of them, evenly spread."
    )
    expect(page.get_by_test_id("rows-progress")).to_have_count(0)
    assert sent.count("predict") < 120
    assert sent.count("explain") <= 12
    print(page.evaluate("({first, whole: performance.now() - began, tasks})"))
    console.expect("422")
    check_list(page, predictions)
    check_file(page, predictions)
    print(page.evaluate("({tasks})"))


def check_list(page: Page, predictions) -> None:
    """Refused rows, the order by score, pages, a filter, and a row that is opened and left again."""
    page.get_by_test_id("filter").select_option("refused")
    expect(rows_of(page)).to_have_count(3)
    assert rows_of(page).locator("th").all_inner_texts() == [f"P{line}" for line in REFUSED]
    # Sorted by score, the least sure rows are first.
    page.get_by_test_id("filter").select_option("all")
    page.get_by_role("button", name="Score").click()
    good = [place for place in range(ROWS) if place + 1 not in REFUSED]
    scores = {place: predictions[place]["scores"][predictions[place]["label"]] for place in good}
    least = sorted(good, key=scores.__getitem__)
    first_ids = [f"P{place + 1}" for place in least[:5]]
    expect(rows_of(page).first.locator("th")).to_have_text(first_ids[0])
    assert rows_of(page).locator("th").all_inner_texts()[:5] == first_ids
    expect(rows_of(page).first).to_contain_text(re.compile(r"\([+−][\d.]+\), "))
    page.get_by_role("button", name="Next page").click()
    expect(page.get_by_test_id("page")).to_have_text("Page 2 of 2,000")
    expect(rows_of(page).first.locator("th")).to_have_text(f"P{least[50] + 1}")
    # Filtered by label, a row is opened.
    gentoo = [place for place in least if predictions[place]["label"] == "Gentoo"]
    page.get_by_test_id("filter").select_option("label:Gentoo")
    expect(rows_of(page).first.locator("th")).to_have_text(f"P{gentoo[0] + 1}")
    rows_of(page).nth(2).locator("button").press("Enter")
    expect(page.get_by_test_id("opened")).to_contain_text(f"Row P{gentoo[2] + 1}, 3 of {len(gentoo):,}")
    expect(page.get_by_test_id("prediction")).to_have_text(f"Gentoo, {100 * scores[gentoo[2]]:.1f} %")
    page.get_by_role("button", name="Next row").click()
    expect(page.get_by_test_id("opened")).to_contain_text(f"Row P{gentoo[3] + 1}, 4 of")
    page.get_by_role("button", name="Back to the table").click()
    expect(rows_of(page).first.locator("th")).to_have_text(f"P{gentoo[0] + 1}")


def check_file(page: Page, predictions) -> None:
    """The CSV holds all predicted rows, and the attributions of the explained ones."""
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    kept = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert len(kept) == ROWS - len(REFUSED)
    last = kept[-1]
    assert last["id"] == f"P{ROWS}"
    assert float(last["score Gentoo"]) == pytest.approx(predictions[-1]["scores"]["Gentoo"], abs=1e-6)
    assert 500 <= sum(bool(row["value"]) for row in kept) < 1000
