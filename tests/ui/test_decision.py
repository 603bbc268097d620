"""A recorded decision is looked up by its id, and explained again."""

from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.conftest import example, rows_of, start_service

pytestmark = pytest.mark.ui


@pytest.fixture(scope="module")
def recorded(artifacts, tmp_path_factory):
    """A service that keeps a record."""
    state = tmp_path_factory.mktemp("state")
    place = f"sqlite:///{state}/record.sqlite3"
    running = start_service(artifacts, state, WHYSERVE_RECORD=place, WHYSERVE_RECORD_SYNC="true")
    running.await_line(r"ready on ")
    yield running
    assert running.stop() == 0, running.output


def predicted(running, body) -> tuple[str, list[dict[str, Any]]]:
    with running.client() as client:
        answer = client.post("/predict", json=body)
        return answer.headers["X-Prediction-Id"], answer.json()["predictions"]


def looked_up(page: Page, running, decision: str) -> Page:
    page.goto(f"{running.address}/#view=decision")
    page.get_by_label("Id of the decision").fill(decision)
    page.get_by_role("button", name="Look it up").click()
    return page


def test_a_decision_is_found_by_its_id_and_explained_again(page, recorded, shot):
    decision, said = predicted(recorded, example("penguins"))
    looked_up(page, recorded, decision)
    shown = page.get_by_test_id("decision")
    expect(shown).to_contain_text("penguins, version 1")
    expect(shown).to_contain_text("3950")
    score = 100 * said[0]["scores"][said[0]["label"]]
    expect(page.get_by_test_id("recorded-answer")).to_have_text(f"{said[0]['label']}, {score:.1f} %")
    assert f"decision={decision}" in page.url
    page.get_by_role("button", name="Explain it again").click()
    expect(page.get_by_test_id("replayed")).to_contain_text("The same build, seed and samples")
    with recorded.client() as client:
        again = client.post("/explain", json={"prediction": decision}).json()
    assert again["method"] in page.locator(".why .facts").inner_text()
    expect(page.get_by_test_id("sentence")).to_contain_text(f"{score:.1f} %")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    shot("page-decision")
    # The service draws the saved picture from the record too.
    with page.expect_download() as download:
        page.locator(".why").get_by_role("button", name="SVG").first.click()
    assert download.value.path().read_text().startswith(("<svg", "<?xml"))
    # The values go on in the form.
    page.get_by_role("button", name="Change its values").click()
    expect(page.get_by_label("body mass, g", exact=True)).to_have_value("3950")


def test_one_row_of_many_is_shown_at_its_address(page, recorded):
    rows = rows_of("wine", 3)
    decision, said = predicted(recorded, {"model": "wine", "instances": rows})
    page.goto(f"{recorded.address}/#decision={decision}.2")
    expect(page.get_by_test_id("decision")).to_contain_text("wine, version 1")
    expect(page.get_by_test_id("model")).to_have_value("wine")
    expect(page.get_by_test_id("decision-row")).to_have_value("2")
    expect(page.get_by_test_id("recorded-answer")).to_contain_text(said[2]["label"])
    page.get_by_test_id("decision-row").select_option("0")
    expect(page.get_by_test_id("recorded-answer")).to_contain_text(f"{100 * said[0]['scores'][said[0]['label']]:.1f}")
    page.get_by_role("button", name="Explain it again").click()
    expect(page.get_by_test_id("sentence")).to_contain_text(f"for {said[0]['label']}")


def test_an_unknown_id_and_a_service_without_a_record_are_reported(page, recorded, service, console):
    looked_up(page, recorded, "0" * 32)
    expect(page.get_by_test_id("not-found")).to_be_visible()
    looked_up(page, service, "0" * 32)
    expect(page.get_by_test_id("not-found")).to_contain_text("this service keeps no record")
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    console.expect("404")


def test_a_prediction_of_tensors_shows_what_was_sent(page, recorded):
    body = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [36.1, 115.0]}]}
    with recorded.client() as client:
        decision = client.post("/v2/models/fclayer/infer", json=body).headers["X-Prediction-Id"]
    page.set_viewport_size({"width": 390, "height": 844})
    looked_up(page, recorded, decision)
    expect(page.get_by_test_id("decision")).to_contain_text('"datatype": "FP32"')
    page.get_by_role("button", name="Explain it again").click()
    expect(page.locator(".why .picture svg")).to_contain_text("bmi = 36.1 kg/m²")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
