"""Numbers as people write them: two readings, decimal commas, values outside the model's range."""

import pytest
from playwright.sync_api import expect

from tests.ui.test_row import PREDICTION, opened
from tests.ui.test_table import explain
from tests.ui.test_table import opened as opened_table

pytestmark = pytest.mark.ui


def test_a_number_with_two_readings_sends_no_request(page, service):
    opened(page, service, "penguins")
    before = page.locator(PREDICTION).inner_text()
    sent = []
    page.on("request", lambda request: sent.append(request.url) if request.method == "POST" else None)
    mass = page.get_by_label("body mass, g", exact=True)
    mass.fill("4,000")
    fault = page.locator(".field.wrong").get_by_role("alert")
    expect(fault).to_contain_text("This can mean 4000 or 4.000.")
    page.wait_for_timeout(1000)
    assert sent == []
    assert page.locator(PREDICTION).inner_text() == before
    mass.fill("4000")
    expect(fault).to_have_count(0)
    expect(page.get_by_test_id("changed")).to_contain_text("body mass from 3950 g to 4000 g")


@pytest.mark.parametrize(("typed", "shown"), [("0,125", "0.125"), ("17,5", "17.5"), ("17.500", "17.5")])
def test_the_parsed_number_is_shown(typed, shown, page, service):
    opened(page, service, "penguins")
    page.get_by_label("bill depth, mm", exact=True).fill(typed)
    expect(page.get_by_test_id("changed")).to_contain_text(f"bill depth from 19.5 mm to {shown} mm")


def test_a_chosen_decimal_comma_reads_and_writes_commas(page, service):
    opened(page, service, "penguins")
    page.get_by_label("Numbers are written with a decimal comma").check()
    depth = page.get_by_label("bill depth, mm", exact=True)
    expect(depth).to_have_value("19,5")
    depth.fill("17,500")
    expect(page.get_by_test_id("changed")).to_contain_text("bill depth from 19.5 mm to 17.5 mm")
    depth.fill("17.500")
    expect(page.locator(".field.wrong").get_by_role("alert")).to_contain_text("This can mean 17500 or 17,500.")
    depth.fill("17,5")
    page.get_by_label("Numbers are written with a decimal comma").uncheck()
    expect(depth).to_have_value("17.5")


def test_a_table_refuses_two_readings_and_shifted_cells(page, service):
    opened_table(page, service, "fclayer")
    page.get_by_label("Paste a table").fill('bmi,bp\n"3,950",100\n"36,1",100\n36,1,100\n30,100\n')
    explain(page)
    expect(page.get_by_test_id("summed")).to_contain_text("2 rows")
    lines = page.locator("[data-testid=rows-table] tbody tr")
    expect(lines.nth(0)).to_contain_text("This can mean 3950 or 3.950.")
    expect(lines.nth(1)).to_contain_text("bmi = 36.1 kg/m²")
    expect(lines.nth(2)).to_contain_text("the row has 3 cells and there are 2 column names")


def test_a_value_outside_the_range_has_a_banner_with_both_bounds(page, service, client):
    opened(page, service, "penguins")
    length = page.get_by_label("bill length, mm", exact=True)
    banner = page.get_by_test_id("outside")
    for typed in ("-5", "1e9"):
        length.fill(typed)
        body = {"model": "penguins", "out_of_range": True, "instances": [{
            "bill_length_mm": float(typed), "bill_depth_mm": 19.5, "flipper_length_mm": 210, "body_mass_g": 3950,
            "island": "Dream", "sex": "male",
        }]}  # fmt: skip
        ((found,),) = client.post("/predict", json=body).json()["out_of_range"]
        expect(banner).to_contain_text(f"bill length is outside {found['low']:.4g} to {found['high']:.4g}, the range")
        expect(page.locator(".field .warning")).to_contain_text(f"{found['low']:.4g} to {found['high']:.4g}")
        expect(banner).to_contain_text("Do not rely on this prediction")
    length.fill("49")
    expect(banner).to_have_count(0)
    expect(page.locator(".field .warning")).to_have_count(0)


def test_a_table_with_semicolons_has_decimal_commas_if_they_are_chosen(page, service):
    opened_table(page, service, "fclayer")
    page.get_by_label("Numbers are written with a decimal comma").check()
    page.get_by_label("Paste a table").fill("bmi;bp\n36,1;100,500\n3.950;100\n30;90\n")
    explain(page)
    expect(page.get_by_test_id("summed")).to_contain_text("2 rows")
    lines = page.locator("[data-testid=rows-table] tbody tr")
    expect(lines.nth(0)).to_contain_text("bmi = 36.1 kg/m²")
    expect(lines.nth(0)).to_contain_text("bp = 100.5")
    expect(lines.nth(1)).to_contain_text("This can mean 3950 or 3,950.")
