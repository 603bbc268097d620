"""Failures around the page: no network, a stopped service, a killed worker, a full queue, an unloaded model."""

import os
import re
import shutil
import signal

import pytest
from playwright.sync_api import expect

from tests.conftest import MODELS, start_service
from tests.test_service import children
from tests.ui.test_row import PREDICTION, advanced, opened

pytestmark = pytest.mark.ui


def ask_for_a_long_explanation(page, samples="4096"):
    advanced(page, "method", "permutation")
    advanced(page, "samples", samples)


def test_progress_is_shown_and_can_be_cancelled(page, service, client):
    opened(page, service, "sunspots", players={})
    with page.expect_response(lambda r: r.url.endswith("/explain") and r.status == 202) as accepted:
        ask_for_a_long_explanation(page)
    where = accepted.value.headers["location"]
    progress = page.get_by_test_id("progress")
    expect(progress).to_contain_text("Explaining")
    expect(progress).to_contain_text(re.compile(r"Accuracy so far: ± [0-9.]+ % of the mean effect"), timeout=60_000)
    with page.expect_response(lambda r: r.request.method == "DELETE") as deleted:
        progress.get_by_role("button", name="Cancel").click()
    assert deleted.value.status == 200
    assert client.get(where).json()["status"] == "cancelled"
    expect(page.locator(".why")).to_contain_text("Cancelled.")
    expect(page.locator(".why .picture svg").first).to_be_visible()
    advanced(page, "method", "")
    expect(page.locator(".why")).not_to_contain_text("Cancelled.")


def test_a_change_cancels_the_running_explanation(page, service):
    opened(page, service, "sunspots", players={})
    with page.expect_response(lambda r: r.status == 202):
        ask_for_a_long_explanation(page)
    with page.expect_response(lambda r: r.request.method == "DELETE"):
        page.locator("form textarea").fill(" ".join(["50"] * 20))
    page.get_by_test_id("progress").get_by_role("button", name="Cancel").click()


def test_a_missing_network_is_reported_and_the_input_is_kept(page, service, console):
    opened(page, service, "fclayer")
    page.context.set_offline(True)
    page.get_by_label("bmi, kg/m²").fill("22")
    expect(page.get_by_test_id("trouble")).to_contain_text("does not answer")
    expect(page.get_by_role("button", name="Try again now")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_test_id("trouble")).to_have_count(0)
    expect(page.get_by_label("bmi, kg/m²")).to_have_value("22")
    expect(page.get_by_test_id("sentence")).to_contain_text("bmi = 22")
    console.expect("ERR_INTERNET_DISCONNECTED")


def test_a_killed_worker_only_delays_the_explanation(page, artifacts, tmp_path):
    running = start_service(artifacts, tmp_path)
    try:
        opened(page, running, "sunspots", players={})
        with page.expect_response(lambda r: r.status == 202):
            ask_for_a_long_explanation(page, "256")
        os.kill(children(running.process.pid)["worker"], signal.SIGKILL)
        running.await_line("the worker died")
        expect(page.locator(".facts")).to_contain_text("permutation", timeout=120_000)
        expect(page.get_by_test_id("progress")).to_have_count(0)
    finally:
        assert running.stop() == 0, running.output


def test_the_page_reconnects_after_a_restart_of_the_service(page, artifacts, tmp_path, console):
    running = start_service(artifacts, tmp_path)
    port = running.address.rpartition(":")[2]
    opened(page, running, "fclayer")
    assert running.stop() == 0
    page.get_by_label("bmi, kg/m²").fill("22")
    expect(page.get_by_test_id("trouble")).to_contain_text("does not answer")
    again = start_service(artifacts, tmp_path, "--port", port)
    try:
        assert again.address
        # The page retries without a click.
        expect(page.get_by_test_id("trouble")).to_have_count(0)
        expect(page.get_by_test_id("sentence")).to_contain_text("bmi = 22")
        console.expect("ERR_")
    finally:
        assert again.stop() == 0, again.output


def test_a_full_queue_is_reported_and_retried(page, artifacts, tmp_path, console):
    running = start_service(artifacts, tmp_path, "--queue-depth", "1")
    try:
        opened(page, running, "fclayer")
        worker = children(running.process.pid)["worker"]
        os.kill(worker, signal.SIGSTOP)
        with running.client() as client:
            held = client.post("/explain", json=filling(), headers={"Prefer": "respond-async"})
            assert held.status_code == 202
            page.get_by_label("bmi, kg/m²").fill("22")
            expect(page.get_by_test_id("trouble")).to_contain_text("No explanation:")
            # Predictions still work.
            expect(page.locator(PREDICTION)).to_be_visible()
            os.kill(worker, signal.SIGCONT)
            expect(page.get_by_test_id("trouble")).to_have_count(0)
        expect(page.get_by_test_id("sentence")).to_contain_text("bmi = 22")
        console.expect("503")
    finally:
        running.stop()


def test_an_unloaded_model_is_reported_and_another_can_be_chosen(page, artifacts, tmp_path, console):
    for root, kept in ((MODELS, tmp_path / "models"), (artifacts, tmp_path / "artifacts")):
        for name in ("linear", "fclayer"):
            shutil.copytree(root / name, kept / name)
    folders = (tmp_path / "artifacts", tmp_path / "state")
    running = start_service(*folders, models=tmp_path / "models")
    port = running.address.rpartition(":")[2]
    opened(page, running, "fclayer")
    assert running.stop() == 0
    for root in ("models", "artifacts"):
        shutil.rmtree(tmp_path / root / "fclayer")
    again = start_service(*folders, "--port", port, models=tmp_path / "models")
    try:
        assert again.address
        page.get_by_label("bmi, kg/m²").fill("22")
        expect(page.get_by_test_id("trouble")).to_contain_text("unknown model; available models: linear")
        page.get_by_role("button", name="Load the models again").click()
        expect(page.get_by_test_id("model").locator("option")).to_have_text(["linear"])
        expect(page.get_by_test_id("model")).to_have_value("linear")
        expect(page.get_by_test_id("sentence")).to_be_visible()
        expect(page.get_by_test_id("trouble")).to_have_count(0)
        console.expect("404")
    finally:
        assert again.stop() == 0, again.output


def filling():
    return {"model": "linear", "instances": [{"bmi": 30.0, "bp": 90.0}]}
