"""A summary of many rows equals the mean of their explanations."""

import time

import numpy as np
import pytest

from tests.conftest import rows_of


def submit(client, **request):
    accepted = client.post("/explain", json={**request, "summary": True})
    assert accepted.status_code == 202, accepted.text
    return accepted.headers["Location"]


def wait_for_progress(client, location):
    """The state of a job, when some of its rows are done."""
    end = time.monotonic() + 120
    while (state := client.get(location).json())["progress"] == 0:
        assert state["status"] in ("queued", "running"), state
        assert time.monotonic() < end
        time.sleep(0.02)
    return state


def summary_of(client, **request):
    return wait_for_result(client, submit(client, **request))


def wait_for_result(client, location):
    shares = []
    end = time.monotonic() + 120
    while time.monotonic() < end:
        state = client.get(location).json()
        shares.append(state["progress"])
        if state["status"] == "done":
            assert shares == sorted(shares)
            return state["result"]
        assert state["status"] in ("queued", "running"), state
        time.sleep(0.05)
    raise AssertionError(state)


@pytest.mark.parametrize("name", ["penguins", "linear", "breast_cancer"])
def test_a_summary_is_the_mean_of_the_explanations(name, client):
    rows = rows_of(name, 90)
    found = summary_of(client, model=name, instances=rows)
    answer = client.post("/explain", json={"model": name, "instances": rows, "outputs": "all"}).json()
    assert found["rows"] == 90
    assert "explanations" not in found
    for key in ("model", "version", "manifest", "method", "background"):
        assert found[key] == answer[key]
    for place, part in enumerate(found["summary"]):
        outputs = [explanation["outputs"][place] for explanation in answer["explanations"]]
        assert {output["output"] for output in outputs} == {part["output"]}
        assert part["rows"] == 90
        scale = np.mean([abs(output["value"]) for output in outputs])
        assert part["mean_value"] == pytest.approx(np.mean([output["value"] for output in outputs]), abs=1e-6 * scale)
        for key, value in part["mean_absolute_attributions"].items():
            assert value == pytest.approx(
                np.mean([abs(output["attributions"][key]) for output in outputs]), rel=1e-3, abs=1e-6 * scale
            )
        # The chosen method differs between machines, and so does its residual.
        largest = max(abs(output["residual"]) for output in outputs)
        assert part["largest_residual"] == pytest.approx(largest, rel=1e-3, abs=1e-6 * scale)
        assert largest <= 1e-3 * max(1.0, scale)


def test_with_top_outputs_each_output_has_its_own_rows(client):
    rows = rows_of("penguins", 60)
    found = summary_of(client, model="penguins", instances=rows, outputs="top")
    labels = [
        p["label"] for p in client.post("/predict", json={"model": "penguins", "instances": rows}).json()["predictions"]
    ]
    assert {part["output"]: part["rows"] for part in found["summary"]} == {x: labels.count(x) for x in set(labels)}


def test_ten_thousand_rows_are_summarised_and_more_are_refused(client):
    rows = rows_of("linear", 10_000)
    assert summary_of(client, model="linear", instances=rows)["rows"] == 10_000
    refused = client.post("/explain", json={"model": "linear", "instances": [*rows, rows[0]], "summary": True})
    assert refused.status_code == 422
    assert refused.json()["code"] == "too_many_instances"
    refused = client.post("/explain", json={"model": "linear", "instances": rows[:1001]})
    assert refused.status_code == 422
    assert refused.json()["code"] == "too_many_instances"


def test_a_deadline_leaves_a_summary_of_fewer_rows(client):
    # The whole summary takes minutes. Before the deadline, a fast machine computes some hundred rows.
    rows = rows_of("sunspots", 4000)
    request = {"model": "sunspots", "instances": rows, "method": "permutation", "deadline_s": 12, "players": {}}
    found = summary_of(client, **request)
    assert found["complete"] is False
    assert 0 < found["rows"] < 4000


def test_other_jobs_are_computed_between_the_chunks_of_a_summary(client):
    long = submit(
        client, model="sunspots", instances=rows_of("sunspots", 4000), method="permutation", deadline_s=100, players={}
    )
    wait_for_progress(client, long)
    for name in ("sunspots", "penguins", "linear"):
        answer = client.post("/explain", json={"model": name, "instances": rows_of(name, 1)})
        assert answer.status_code == 200, answer.text
    state = client.get(long).json()
    assert state["status"] == "running"
    assert 0 < state["progress"] < 1
    assert client.delete(long).json()["status"] == "cancelled"


def test_other_jobs_do_not_change_a_summary_and_another_summary_waits(client):
    request = {"model": "sunspots", "method": "permutation", "samples": 4, "players": {}}
    rows, others = rows_of("sunspots", 160), rows_of("sunspots", 200)[160:]
    first = submit(client, instances=rows, **request)
    wait_for_progress(client, first)
    second = submit(client, instances=others, **request)
    for seed in range(3):
        answer = client.post("/explain", json={"model": "sunspots", "instances": rows[:1], "seed": seed})
        assert answer.status_code == 200, answer.text
    found, other = wait_for_result(client, first), wait_for_result(client, second)
    assert (found["rows"], other["rows"]) == (160, 40)
    # The samples of a row depend on the seed only: the means are the same in another order and without other jobs.
    (part,), (again,) = found["summary"], summary_of(client, instances=rows[::-1], **request)["summary"]
    assert part["mean_absolute_attributions"]["past"] == pytest.approx(
        again["mean_absolute_attributions"]["past"], rel=1e-4, abs=1e-6
    )
