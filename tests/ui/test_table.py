"""A table of rows: input, progress, summary, and errors of single rows."""

import csv
import io
import re

import numpy as np
import pandas as pd
import pytest
from palmerpenguins import load_penguins
from playwright.sync_api import Page, expect

from tests.conftest import MODELS
from tests.ui.test_row import advanced
from whyserve.model.manifest import read_manifest
from whyserve.model.rows import as_row
from whyserve.model.spec import read_spec

pytestmark = pytest.mark.ui

SUMMED = "[data-testid=summed]"


def opened(page: Page, service, model: str, more: str = "") -> Page:
    page.goto(f"{service.address}/#model={model}&view=table{more}")
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


def load(page: Page, file, words: str) -> None:
    """Choose a file, and wait until the page shows its rows."""
    page.locator("input[type=file]").set_input_files(file)
    expect(page.get_by_label("Paste a table")).to_have_value(re.compile(words))


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
    said = re.search(r"first: ([\w ]+) ([\d.]+)", words)
    assert said is not None
    assert said[1] == first.replace("_", " ")
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
    expect(page.get_by_test_id("rows-faults")).to_contain_text("2 rows were refused")
    page.get_by_test_id("filter").select_option("refused")
    lines = page.locator("[data-testid=rows-table] tbody tr")
    expect(lines).to_have_count(2)
    expect(lines.nth(0)).to_contain_text('"island" must be ')
    expect(lines.nth(1)).to_contain_text('"body_mass_g" must be a number')
    expect(lines.nth(1).locator("th")).to_have_text("21")  # the id column, not the line
    expect(page.locator(".results")).to_contain_text("the model does not have them: id.")
    console.expect("422")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "There are no rows"),
        ("a,b\n1,2", "The first line must name the columns: bmi, bp."),
        ("bmi,bp", "no row below it"),
        ("[1, 2", "starts like JSON and is not valid JSON"),
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
    opened(page, service, "digits", "&players={}")
    page.get_by_role("button", name="One row").click()
    advanced(page, "method", "kernel")
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
    expect(page.get_by_test_id("rows-table")).to_contain_text('"name" has no token that this model knows')
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    first, second = csv.DictReader(io.StringIO(download.value.path().read_text()))
    assert float(first["“Nouvelle”"]) > 0
    assert second["“Nouvelle”"] == ""
    known = {"row", "id", "prediction", "output", "value"}
    pieces = [
        float(value) for key, value in second.items() if value and key not in known and not key.startswith("score ")
    ]
    assert sum(pieces) == pytest.approx(float(second["value"]))
    console.expect("422")


def test_a_file_with_gaps_shows_333_rows_and_lists_11(page, service, console, tmp_path):
    frame = load_penguins()[[*shipped_columns("penguins")]]
    assert len(frame) == 344
    frame.to_csv(tmp_path / "penguins.csv", index=False)
    opened(page, service, "penguins")
    load(page, tmp_path / "penguins.csv", "^bill_length_mm")
    explain(page)
    expect(page.locator(SUMMED)).to_have_text("333 rows, explained for Adelie.")
    expect(page.get_by_test_id("rows-faults")).to_contain_text("11 rows were refused")
    page.get_by_test_id("filter").select_option("refused")
    expect(page.locator("[data-testid=rows-table] tbody tr")).to_have_count(11)
    page.get_by_test_id("filter").select_option("all")
    expect(page.get_by_test_id("page")).to_have_text("Page 1 of 7")
    console.expect("422")


def shipped_columns(name):
    manifest_spec = read_spec(MODELS / name)
    return [feature.name for item in manifest_spec.inputs for feature in item.features]


def test_rows_are_sorted_opened_and_left_again(page, service, client, artifacts):
    """The task: find the five rows that the model is least sure of."""
    rows = table("penguins", artifacts, 60)
    opened(page, service, "penguins")
    page.get_by_label("Paste a table").fill(as_csv([{"id": f"P{number}", **row} for number, row in enumerate(rows)]))
    explain(page)
    expect(page.locator(SUMMED)).to_contain_text("60 rows")
    page.get_by_role("button", name="Score").click()
    predictions = client.post("/predict", json={"model": "penguins", "instances": rows}).json()["predictions"]
    scores = [prediction["scores"][prediction["label"]] for prediction in predictions]
    least = [f"P{number}" for number in sorted(range(60), key=scores.__getitem__)[:5]]
    lines = page.locator("[data-testid=rows-table] tbody tr")
    expect(lines.locator("th")).to_have_count(50)
    assert [lines.nth(place).locator("th").inner_text() for place in range(5)] == least
    lines.nth(1).locator("button").press("Enter")
    expect(page.get_by_test_id("opened")).to_contain_text(f"Row {least[1]}, 2 of 60")
    expect(page.locator("[data-testid=prediction]")).to_contain_text(f"{100 * scores[int(least[1][1:])]:.1f} %")
    page.get_by_role("button", name="Previous row").click()
    expect(page.get_by_test_id("opened")).to_contain_text(f"Row {least[0]}, 1 of 60")
    expect(page.get_by_role("button", name="Previous row")).to_be_disabled()
    page.go_back()
    expect(lines.first.locator("th")).to_have_text(least[0])
    # Reasons with their sign, for a row of the last page.
    page.get_by_role("button", name="Next page").click()
    expect(lines).to_have_count(10)
    expect(lines.first).to_contain_text(re.compile(r"\([+−][\d.]+\), .*\([+−][\d.]+\), .*\([+−][\d.]+\)"))


def test_parquet_is_read_and_unknown_columns_are_left_out(page, service, artifacts, tmp_path):
    rows = table("penguins", artifacts, 30)
    pd.DataFrame([{**row, "note": "x"} for row in rows]).to_parquet(tmp_path / "rows.parquet", index=False)
    opened(page, service, "penguins")
    load(page, tmp_path / "rows.parquet", "note")
    explain(page)
    expect(page.locator(SUMMED)).to_contain_text("30 rows")
    expect(page.locator(".results")).to_contain_text("the model does not have them: note.")
    drawn = "".join(page.locator(".picture svg text").all_text_contents())
    assert all(name in drawn for name in ("Biscoe", "Dream", "Torgersen", "female", "male"))


def test_a_file_that_cannot_be_read_is_reported(page, service, tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"no parquet")
    opened(page, service, "penguins")
    page.locator("input[type=file]").set_input_files(tmp_path / "rows.parquet")
    expect(page.locator("#rows-fault")).to_contain_text("rows.parquet cannot be read: ")
    (tmp_path / "rows.csv").write_bytes("bmi,bp,é\n1,2,3\n".encode("cp1252"))
    page.locator("input[type=file]").set_input_files(tmp_path / "rows.csv")
    expect(page.locator("#rows-fault")).to_contain_text("rows.csv cannot be read: ")


def test_the_saved_table_holds_id_label_and_all_outputs(page, service, client, artifacts):
    rows = table("penguins", artifacts, 3)
    opened(page, service, "penguins")
    ids = ["=1+1", "b", "c"]
    page.get_by_label("Paste a table").fill(as_csv([{"id": one, **row} for one, row in zip(ids, rows, strict=True)]))
    explain(page)
    expect(page.locator(SUMMED)).to_contain_text("3 rows")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    kept = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert [row["id"] for row in kept] == ["'=1+1", "b", "c"]
    predictions = client.post("/predict", json={"model": "penguins", "instances": rows}).json()["predictions"]
    for row, prediction in zip(kept, predictions, strict=True):
        assert row["prediction"] == prediction["label"]
        for label, score in prediction["scores"].items():
            assert float(row[f"score {label}"]) == pytest.approx(score, abs=1e-6)


def test_quoted_cells_hold_separators_quotes_and_line_breaks(page, service):
    """The page reads CSV like Python's csv module."""
    names = ['Île-de-France, "Paris"', "Nouvelle\nZélande", '"Roma"', "a;b", "Deutschland "]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([["id", "name"], *enumerate(names)])
    opened(page, service, "places")
    with page.expect_request("**/predict") as asked:
        page.get_by_label("Paste a table").fill(text.getvalue())
        explain(page)
    sent = [instance["name"] for instance in asked.value.post_data_json["instances"]]
    assert sent == [name.strip() for name in names]
    expect(page.locator(SUMMED)).to_contain_text("rows, explained for")
    page.get_by_test_id("filter").select_option("all")
    expect(page.locator("[data-testid=rows-table] tbody tr")).to_have_count(5)


def test_a_batch_with_refused_rows_explains_all_others(page, service, artifacts, console):
    """Refused rows at the start, in the middle side by side, and at the end."""
    rows = [{"id": f"P{at}", **row} for at, row in enumerate(table("penguins", artifacts, 60))]
    refused = [0, 1, 2, 30, 31, 45, 59]
    for at in refused:
        rows[at]["island"] = "Mars"
    opened(page, service, "penguins")
    page.get_by_label("Paste a table").fill(as_csv(rows))
    explain(page)
    expect(page.locator(SUMMED)).to_have_text("53 rows, explained for Adelie.")
    page.get_by_test_id("filter").select_option("refused")
    ids = page.locator("[data-testid=rows-table] tbody tr th")
    expect(ids).to_have_count(7)
    assert ids.all_inner_texts() == [f"P{at}" for at in refused]
    console.expect("422")


def test_all_rows_of_a_large_table_are_explained_on_request(page, service, artifacts):
    opened(page, service, "linear")
    rows = [{"bmi": 27 + row / 100, "bp": 95 + row / 50} for row in range(1200)]
    page.get_by_label("Paste a table").fill(as_csv(rows))
    explain(page)
    expect(page.locator(SUMMED)).to_contain_text("1,200 rows")
    expect(page.get_by_role("button", name="Reasons")).to_have_count(0)
    page.get_by_test_id("explain-all").click()
    page.get_by_role("button", name="Reasons").click()
    page.get_by_role("button", name="Reasons").click()
    # The model is linear, so the row that is farthest from the average has the largest reason.
    expect(page.locator("[data-testid=rows-table] tbody tr th").first).to_have_text("1200")
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    kept = list(csv.DictReader(io.StringIO(download.value.path().read_text())))
    assert len(kept) == 1200
    assert all(row["value"] for row in kept)
