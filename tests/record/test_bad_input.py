"""What is no request to the decision record gets a 4xx that names the place."""

import pytest

from tests.conftest import example, rows_of
from tests.record.conftest import by, post

ID = "0" * 32
NAMES = ["nothing", "A" * 32, "0" * 31, "0" * 33, "0" * 5000, "%00", ID + "%00", "%ff%fe", "é" * 32, "' OR 1=1 --"]
ROWS = [".x", ".", ".-1", ".1.2", ".1e3", ".٣", ".+1", ".%00", ".999999999", "." + "9" * 400]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_no_id_is_not_found(name, desk):
    for answer in (
        desk.get(f"/predictions/{name}", headers=by("audit")),
        desk.post(f"/predictions/{name}/erase", headers=by("officer")),
        post(desk, "/explain", {"prediction": name}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_prediction"), answer.text
        assert answer.json()["errors"][0]["field"] in ("id", "prediction")


@pytest.mark.parametrize("row", ROWS)
def test_what_is_no_row_is_refused(row, desk):
    for answer in (
        desk.get(f"/predictions/{ID}{row}", headers=by("audit")),
        desk.post(f"/predictions/{ID}{row}/erase", headers=by("officer")),
        post(desk, "/explain", {"prediction": ID + row}),
    ):
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["field"] in ("id", "prediction")


def test_a_row_that_a_prediction_lacks_is_not_found(desk):
    rows = rows_of("wine", 2)
    made = post(desk, "/predict", {"model": "wine", "instances": rows}).headers["x-prediction-id"]
    for row in (2, 99_999_999):
        for answer in (
            desk.get(f"/predictions/{made}.{row}", headers=by("audit")),
            desk.post(f"/predictions/{made}.{row}/erase", headers=by("officer")),
            post(desk, "/explain", {"prediction": f"{made}.{row}"}),
        ):
            assert answer.status_code == 404, answer.text
            assert answer.json()["errors"][0]["field"] in ("id", "prediction")
    # What it was sent with is not read: an erasure has no options.
    odd = {"content": b"\xff{", "headers": {**by("officer"), "Content-Type": "application/json"}}
    assert desk.post(f"/predictions/{made}.1/erase", **odd).json() == {"records": 1}
    assert desk.post(f"/predictions/{made}.1/erase", **odd).json() == {"records": 1}
    assert desk.get(f"/predictions/{made}", headers=by("audit")).json()["sent"]["instances"] == [rows[0], None]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("from", "yesterday"), ("from", ""), ("to", "2026-13-01"), ("to", "\0"),
        ("limit", "0"), ("limit", "x"), ("limit", "-1"), ("limit", "1001"), ("limit", "9" * 5000), ("limit", "٣"),
        ("after", "x"), ("after", ""), ("after", "9" * 19 + "-x"), ("after", "-1-x"), ("after", "0-\0"),
        ("model", "a\0"), ("caller", "\0"), ("whose", "me"), ("", "x"),
    ],
)  # fmt: skip
def test_a_wrong_query_names_the_parameter(name, value, desk):
    answer = desk.get("/predictions", params={name: value}, headers=by("audit"))
    assert answer.status_code == 422, answer.text
    assert f'"{name}"' in answer.json()["detail"] or "unknown parameter" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"prediction": 7}, "prediction"), ({"prediction": None}, "prediction"), ({"prediction": []}, "prediction"),
        ({"prediction": {"id": ID}}, "prediction"), ({"prediction": ""}, "prediction"),
        ({"prediction": "\0"}, "prediction"), ({"seed": "x"}, "seed"), ({"samples": 0}, "samples"),
        ({"method": "magic"}, "method"), ({"outputs": ["brunello"]}, "outputs"), ({"background": "rich"}, "background"),
        ({"similar": 5}, "similar"), ({"reasons": True}, "reasons"), ({"instances": []}, "instances"),
        ({"model": "wine"}, "model"), ({"players": {"x": 3}}, "players"), ({"deadline_s": 0}, "deadline_s"),
    ],
)  # fmt: skip
def test_a_wrong_option_of_a_replay_names_its_field(more, field, desk):
    made = post(desk, "/predict", example("wine")).headers["x-prediction-id"]
    answer = post(desk, "/explain", {"prediction": made, **more})
    assert 400 <= answer.status_code < 500, answer.text
    assert answer.json()["errors"][0]["field"].split(".")[0].split("[")[0] == field, answer.text


def test_other_methods_and_missing_scopes_are_refused(desk):
    for method, path, name, status in (
        ("PUT", f"/predictions/{ID}", "audit", 405), ("DELETE", f"/predictions/{ID}", "officer", 403),
        ("GET", f"/predictions/{ID}/erase", "officer", 405), ("POST", f"/predictions/{ID}/erase", "audit", 403),
        ("GET", "/predictions", "desk", 403), ("GET", f"/predictions/{ID}", "officer", 403),
    ):  # fmt: skip
        answer = desk.request(method, path, headers=by(name))
        assert answer.status_code == status, (method, path, answer.text)
