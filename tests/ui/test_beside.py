"""What stands beside an explanation: reliability, scale, missing values, reasons, counterfactuals, similar cases."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.conftest import example, start_service
from tests.doubtful import copy_doubtful
from tests.missing import ROW, package_credit
from tests.ui.test_row import PREDICTION, numbers, opened

pytestmark = pytest.mark.ui


@pytest.fixture(scope="module")
def credit(tmp_path_factory):
    """A service with a model whose features may be missing."""
    root = tmp_path_factory.mktemp("credit")
    package_credit(root)
    running = start_service(root / "artifacts", root / "state", models=root / "models")
    running.await_line(r"ready on ")
    yield running
    assert running.stop() == 0, running.output


def panel(page: Page, name: str):
    """Open a panel below the explanation."""
    found = page.get_by_test_id(name)
    found.locator("summary").click()
    expect(found).to_have_attribute("aria-busy", "false")
    return found


@pytest.fixture(scope="module")
def doubtful(artifacts, tmp_path_factory):
    """A service with wine, whose certificate says that `deep` is far from the reference."""
    root = copy_doubtful(artifacts, tmp_path_factory.mktemp("doubtful"))
    running = start_service(root / "artifacts", root / "state", models=root / "models")
    yield running
    assert running.stop() == 0, running.output


def test_an_unreliable_explanation_says_so_above_the_result(page, doubtful):
    with doubtful.client() as client:
        answer = client.post("/explain", json={**example("wine"), "method": "deep"}).json()
    assert answer["reliable"] is False
    opened(page, doubtful, "wine")
    expect(page.get_by_test_id("unreliable")).to_have_count(0)
    page.goto(f"{doubtful.address}/#model=wine&method=deep")
    page.reload()
    banner = page.get_by_test_id("unreliable")
    expect(banner).to_have_text(f"Do not rely on this explanation: {answer['reliable_reason']}.")
    expect(banner).to_have_attribute("role", "alert")


def test_the_second_label_is_compared_with_one_click_and_the_scale_is_named(page, service, client):
    opened(page, service, "penguins")
    page.get_by_test_id("why-not").click()
    expect(page.get_by_test_id("scale")).to_contain_text("Scale: log ratio, log(p / q)")
    said = page.get_by_test_id("sentence")
    expect(said).to_contain_text("for Chinstrap instead of Adelie")
    body = {**example("penguins"), "outputs": ["Chinstrap"], "instead_of": "Adelie"}
    (output,) = client.post("/explain", json=body).json()["explanations"][0]["outputs"]
    expect(said).to_contain_text(f"it says log ratio {output['value']:.3f}")
    shown = numbers(page)
    assert float(shown["bill length = 49 mm"]) == pytest.approx(output["attributions"]["bill_length_mm"], rel=1e-2)
    assert "insteadOf=Adelie" in page.url
    page.reload()
    expect(page.get_by_test_id("scale")).to_be_visible()
    page.get_by_test_id("why-not").click()
    expect(page.get_by_test_id("scale")).to_have_count(0)


def test_log_odds_are_chosen_and_named(page, service):
    opened(page, service, "penguins", now={"island": "Biscoe"})
    page.locator(".advanced summary").click()
    page.get_by_test_id("scale-name").select_option("log_odds")
    expect(page.get_by_test_id("scale")).to_contain_text("Scale: log-odds")
    expect(page.get_by_test_id("sentence")).to_contain_text("For this row it says log-odds ")
    # The prediction itself stays a probability, also in the sentence about the change.
    expect(page.locator(PREDICTION)).to_contain_text(" %")
    expect(page.get_by_test_id("changed")).to_contain_text(re.compile("The prediction went from .* % to .* %"))


def sends_null(request, key: str) -> bool:
    """Whether a request to explain has no value for this feature."""
    return request.url.endswith("/explain") and request.post_data_json["instances"][0].get(key, 0) is None


def test_a_field_without_a_value_is_sent_as_null_and_marked(page, credit):
    page.goto(f"{credit.address}/#model=credit")
    expect(page.get_by_test_id("sentence")).to_be_visible()
    for key in ROW:
        field = page.locator(f"#field-{key}")
        with page.expect_request(lambda request, key=key: sends_null(request, key)):
            field.fill("") if field.evaluate("it => it.tagName") == "INPUT" else field.select_option("")
    expect(page.get_by_test_id("changed")).to_contain_text(re.compile("plan from (free|pro) to not given"))
    expect(page.locator(".field.wrong")).to_have_count(0)
    shown = numbers(page)
    assert "income = not given" in shown
    assert "plan = not given" in shown
    assert any(re.fullmatch(r"age = not given, so [\d.]+ was used", label) for label in shown)
    assert any(re.fullmatch(r"owner = not given, so (true|false) was used", label) for label in shown)
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def test_an_empty_cell_of_a_table_is_a_missing_value(page, credit):
    page.goto(f"{credit.address}/#model=credit&view=table")
    expect(page.get_by_label("Paste a table")).not_to_have_value("")
    page.get_by_label("Paste a table").fill("age,income,owner,plan\n,0.5,true,pro\n30,,,\n")
    page.get_by_role("button", name="Explain these rows").click()
    expect(page.get_by_test_id("summed")).to_contain_text("2 rows")
    expect(page.get_by_test_id("rows-table")).to_contain_text("not given")


def test_reasons_are_listed_with_code_text_and_sentence(page, service, client):
    opened(page, service, "penguins")
    found = panel(page, "reasons")
    answer = client.post("/explain", json={**example("penguins"), "reasons": True}).json()
    reasons = answer["explanations"][0]["reasons"]
    expect(page.get_by_test_id("reasons-sentence")).to_have_text(reasons["sentence"])
    lines = found.locator("li")
    expect(lines).to_have_count(len(reasons["named"]))
    for place, reason in enumerate(reasons["named"]):
        expect(lines.nth(place)).to_contain_text(f"{reason['code']} {reason['text']}")
    expect(found).to_contain_text("Compared with 50 rows of the background adelie.")
    page.get_by_test_id("language").select_option("de")
    german = client.post("/explain", json={**example("penguins"), "reasons": True, "language": "de"}).json()
    expect(page.get_by_test_id("reasons-sentence")).to_have_text(german["explanations"][0]["reasons"]["sentence"])


def test_similar_cases_are_listed_with_their_outcome(page, service, client):
    opened(page, service, "penguins")
    found = panel(page, "similar")
    answer = client.post("/explain", json={**example("penguins"), "similar": 5}).json()["explanations"][0]
    lines = found.locator("tbody tr")
    expect(lines).to_have_count(5)
    for place, case in enumerate(answer["similar"]):
        expect(lines.nth(place).locator("th")).to_contain_text(case["prediction"]["label"])
        expect(lines.nth(place)).to_contain_text(f"{case['instance']['bill_length_mm']:g}")
    expect(page.get_by_test_id("unusual")).to_contain_text("unusual")
    # A model that does not show its background says only how unusual the row is.
    opened(page, service, "breast_cancer")
    page.reload()
    found = panel(page, "similar")
    expect(page.get_by_test_id("unusual")).to_be_visible()
    expect(found.locator("tbody")).to_have_count(0)
    expect(found).to_contain_text("must not be shown")


def test_a_refused_applicant_learns_why_and_what_would_change_it(page, service, client):
    """The task: find why this applicant was refused, and what would change it.

    The applicant is a penguin that wants to be a Gentoo.
    """
    opened(page, service, "penguins")
    expect(page.locator(PREDICTION)).to_contain_text("Chinstrap")
    panel(page, "reasons")
    expect(page.get_by_test_id("reasons-sentence")).to_contain_text("It is no Gentoo, mainly for these reasons: ")
    found = panel(page, "counterfactuals")
    ways = found.locator("li")
    expect(ways).to_have_count(3)
    expect(ways.filter(has_text="then the prediction is Gentoo")).to_have_count(3)
    # What cannot change is held: by the model, or by the person.
    expect(found.get_by_label("sex")).to_be_disabled()
    expect(found.get_by_label("sex")).to_be_checked()
    found.get_by_label("island").check()
    expect(ways.filter(has_text="island")).to_have_count(0)
    body = {**example("penguins"), "count": 3, "changes": {"island": {"fixed": True}}}
    first = client.post("/counterfactual", json=body).json()["counterfactuals"][0]["found"][0]
    for key, value in first["changes"].items():
        name = key.rsplit("_", 1)[0].replace("_", " ")
        expect(ways.first).to_contain_text(re.compile(rf"{name} from .* to {value:g}\b"))
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
    ways.first.get_by_role("button", name="Try it").click()
    expect(page.locator(PREDICTION)).to_contain_text("Gentoo")
    expect(page.get_by_test_id("changed")).to_contain_text("to Gentoo")
    expect(page.get_by_test_id("reasons-sentence")).to_contain_text("It is a Gentoo")


def test_a_regression_has_a_goal_and_nothing_found_is_said(page, service):
    opened(page, service, "fclayer")
    found = panel(page, "counterfactuals")
    expect(found.locator("li")).to_have_count(0)
    page.get_by_test_id("goal").fill("200")
    expect(found.locator("li").first).to_contain_text("then the prediction is ")
    page.get_by_test_id("goal").fill("99999")
    expect(page.get_by_test_id("none-found")).to_contain_text("Nothing was found: ")


@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing_in_the_open_panels(width, page, service):
    page.set_viewport_size({"width": width, "height": 844})
    opened(page, service, "penguins")
    for name in ("reasons", "counterfactuals", "similar"):
        panel(page, name)
    expect(page.locator("[data-testid=similar] tbody tr")).to_have_count(5)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()
