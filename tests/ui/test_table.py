"""A table of rows: input, progress, summary, and errors of single rows."""

import csv
import io
import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.conftest import MODELS
from whyserve.model.manifest import read_manifest
from whyserve.model.rows import as_row

pytestmark = pytest.mark.ui

SUMMED = "[data-testid=summed]"


def opened(page: Page, service, model: str) -> Page:
    page.goto(f"{service.address}/#model={model}&view=table")
    expect(page.get_by_label("Paste a table")).not_to_have_value("")
    return page


def table(name: str, artifacts, count: int) -> list[dict[str, object]]:
    """Rows of the model's background data."""
    manifest, _ = read_manifest(artifacts / name)
    with np.load(MODELS / name / "background.npz") as arrays:
        return [as_row(manifest.spec, dict(arrays), number) for number in range(count)]


def as_csv(rows, delimiter=","):
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def explain(page: Page) -> None:
    page.get_by_role("button", name="Explain these rows").click()


def test_a_table_has_the_same_summary_as_the_service(page, service, client, artifacts):
    rows = table("wine", artifacts, 50)
    opened(page, service, "wine")
    page.get_by_label("Paste a table").fill(as_csv(rows, ";"))
    page.get_by_test_id("rows-class").select_option("barbera")
    explain(page)
    expect(page.locator(SUMMED)).to_have_text("50 rows, explained for barbera.")
    answer = client.post("/explain", json={"model": "wine", "instances": rows, "outputs": ["barbera"]}).json()
    outputs = [explanation["outputs"][0]["attributions"] for explanation in answer["explanations"]]
    sizes = {key: np.mean([abs(output[key]) for output in outputs]) for key in outputs[0]}
    first = max(sizes, key=sizes.__getitem__)
    words = page.locator(".picture").get_attribute("aria-label") or ""
    said = re.search(r"first: (\w+) ([\d.]+)", words)
    assert said is not None
    assert said[1] == first
    assert float(said[2]) == pytest.approx(100 * sizes[first], abs=0.06)
    assert page.locator(".picture svg circle").count() >= 50 * 12
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    kept = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert len(kept) == 50
    assert float(kept[7][first]) == pytest.approx(outputs[7][first], abs=1e-6)
    page.get_by_role("button", name="Mean sizes").click()
    expect(page.locator(".picture svg rect")).to_have_count(12)


def test_a_wrong_row_is_named_and_the_others_are_explained(page, service, artifacts, console):
    rows = table("penguins", artifacts, 30)
    rows[4]["island"] = "Mars"
    rows[21]["body_mass_g"] = "heavy"
    opened(page, service, "penguins")
    page.get_by_label("Paste a table").fill(as_csv([{**row, "id": number} for number, row in enumerate(rows)]))
    explain(page)
    expect(page.locator(SUMMED)).to_contain_text("28 rows")
    faults = page.get_by_test_id("rows-faults")
    expect(faults).to_contain_text('Row 5: "island" must be ')
    expect(faults).to_contain_text('Row 22: "body_mass_g" must be a number')
    expect(page.locator(".results")).to_contain_text("does not know them: id.")
    console.expect("422")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "There are no rows"),
        ("a,b\n1,2", "The first line must name the columns: bmi, bp."),
        ("bmi,bp", "no rows below"),
        ("[1, 2", "begins as JSON and is not"),
        ("[1, 2]", "must be a list of rows"),
    ],
)
def test_unreadable_input_is_reported(text, words, page, service):
    opened(page, service, "fclayer")
    page.get_by_label("Paste a table").fill(text)
    explain(page)
    expect(page.locator("#rows-fault")).to_contain_text(words)
    expect(page.get_by_label("Paste a table")).to_have_value(text)


def test_progress_is_shown_and_a_table_can_be_cancelled(page, service, artifacts):
    opened(page, service, "digits")
    page.get_by_role("button", name="One row").click()
    page.get_by_test_id("method").select_option("kernel")
    page.get_by_role("button", name="A table of rows").click()
    rows = table("digits", artifacts, 20)
    page.get_by_label("Paste a table").fill(str(rows).replace("'", '"'))
    explain(page)
    progress = page.get_by_test_id("rows-progress")
    expect(progress).to_contain_text("of 20 rows")
    with page.expect_response(lambda r: r.request.method == "DELETE"):
        expect(progress).to_contain_text(re.compile("[1-9] of 20"), timeout=60_000)
        progress.get_by_role("button", name="Cancel").click()
    expect(progress).to_have_count(0)


def test_texts_are_summarized_and_saved_by_token(page, service, console):
    opened(page, service, "places")
    expect(page.get_by_label("Paste a table")).to_have_value(re.compile("^name\n"))
    page.get_by_label("Paste a table").fill("name\nNouvelle-Zélande\n東京\nÎle-de-France\n")
    page.get_by_test_id("rows-class").select_option("French")
    explain(page)
    expect(page.locator(SUMMED)).to_have_text("2 rows, explained for French.")
    expect(page.get_by_test_id("rows-faults")).to_contain_text('Row 2: "name" has no token that this model knows')
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    first, second = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert float(first["“Nouvelle”"]) > 0
    assert second["“Nouvelle”"] == ""
    pieces = [float(value) for key, value in second.items() if value and key not in ("row", "output", "value")]
    assert sum(pieces) == pytest.approx(float(second["value"]))
    console.expect("422")
