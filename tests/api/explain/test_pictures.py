"""Explanations as pictures: content negotiation, content, and refused requests."""

import io
import time
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from starlette.datastructures import Headers

from tests.api.test_bad_input import check
from tests.conftest import example, shipped
from whyserve.api.explain.pictures import picture_kind
from whyserve.errors import NotAcceptable

SVG, PNG, JSON = ({"Accept": kind} for kind in ("image/svg+xml", "image/png", "application/json"))
NAMESPACE = "{http://www.w3.org/2000/svg}"


def one_output(name, client):
    """A model's example, of one row and one output."""
    request = example(name)
    request["instances"] = request["instances"][:1]
    first = client.post("/explain", json=request).json()["explanations"][0]["outputs"][0]["output"]
    return {**request, "outputs": [first]}


def parsed(answer):
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    root = ET.fromstring(answer.text)
    assert root.tag == f"{NAMESPACE}svg"
    return root


def colours_of(answer):
    """(H, W, 3) of a PNG."""
    assert answer.status_code == 200, answer.text
    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))


def texts(root):
    return [part.text for part in root.iter(f"{NAMESPACE}text")]


@pytest.mark.parametrize("name", shipped())
def test_every_model_has_pictures_in_both_formats(name, client):
    request = one_output(name, client)
    said = client.post("/explain", json=request).json()
    (output,) = said["explanations"][0]["outputs"]
    root = parsed(client.post("/explain", json=request, headers=SVG))
    title, words = (root.find(f"{NAMESPACE}{part}").text for part in ("title", "desc"))
    assert title.startswith(f"Why {name} says {output['output']}: ")
    assert root.get("role") == "img"
    assert [root.find(f"{NAMESPACE}{part}").get("id") for part in ("title", "desc")] == root.get(
        "aria-labelledby"
    ).split()
    assert words.startswith("From the average, ")
    for fact in (f"Method: {said['method']}, ", "Adds up: ", said["background"]["sha256"][:8]):
        assert fact in words
        assert fact in " ".join(texts(root))
    assert title in texts(root)
    picture = client.post("/explain", json=request, headers=PNG)
    assert picture.headers["content-type"] == "image/png"
    colours = colours_of(picture)
    assert colours.shape[1] == 720
    assert 250 < colours.shape[0] < 2000
    assert len(np.unique(colours.reshape(-1, 3), axis=0)) > 20


def test_a_waterfall_names_each_feature_with_its_value_and_share(client):
    request = {"model": "fclayer", "instances": [{"bmi": 36.1, "bp": 115.0}]}
    shown = texts(parsed(client.post("/explain", json=request, headers=SVG)))
    for text in ("bmi = 36.1 kg/m²", "bp = 115 mmHg", "+82", "+34", "average", "prediction"):
        assert any(each.startswith(text) for each in shown), (text, shown)


def test_an_image_has_an_overlay_of_attributions(client):
    root = parsed(client.post("/explain", json={**example("digits"), "players": {}}, headers=SVG))
    assert {"speaks for it", "speaks against"} <= set(texts(root))
    assert list(root.iter(f"{NAMESPACE}image"))
    assert "pixels that speak for it" in root.find(f"{NAMESPACE}desc").text
    picture = client.post("/explain", json={**example("digits"), "players": {}}, headers=PNG)
    red, _, blue = np.moveaxis(colours_of(picture).astype(int), 2, 0)
    for more, less in ((red, blue), (blue, red)):
        assert (more > less + 60).sum() > 1000
    assert (np.abs(red - blue) < 10).sum() > 1000


def test_pictures_differ_by_row_and_are_reproducible(client):
    rows = [{"bmi": 36.1, "bp": 115.0}, {"bmi": 20.0, "bp": 80.0}]
    first, second = (
        client.post("/explain", json={"model": "linear", "instances": [row]}, headers=SVG).text for row in rows
    )
    assert first != second
    again = client.post("/explain", json={"model": "linear", "instances": rows[:1]}, headers=SVG)
    assert again.text == first
    assert again.headers["X-Cache"] == "hit"
    plain = client.post("/explain", json={"model": "linear", "instances": rows[:1]}, headers=JSON)
    assert plain.json()["cached"] is True
    assert plain.headers["vary"].startswith("Accept")


def await_done(client, place):
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (state := client.get(place).json())["status"] == "done":
            return state
        time.sleep(0.02)
    raise AssertionError(state)


def test_a_finished_explanation_is_drawn_by_row_and_output(client):
    request = example("wine")
    request["instances"] = [request["instances"][0], {**request["instances"][0], "alcohol": 11.1}]
    headers = {"Prefer": "respond-async", **SVG}
    refused = client.post("/explain", json=request, headers=headers)
    check(refused, 422, "invalid_input", None, "instances")
    place = client.post("/explain", json={**request, "outputs": "all", "seed": 5}, headers={**headers, **JSON}).headers[
        "Location"
    ]
    state = await_done(client, place)
    labels = [output["output"] for output in state["result"]["explanations"][0]["outputs"]]
    pictures = {
        (row, label): parsed(client.get(place, params={"instance": row, "output": label}, headers=SVG))
        for row in (0, 1)
        for label in labels[:2]
    }
    for (row, label), root in pictures.items():
        assert f"says {label}: " in root.find(f"{NAMESPACE}title").text
        shown = any("alcohol = 11.1" in text for text in texts(root)) or row == 0
        assert shown
    assert parsed(client.get(place, headers=SVG)).find(f"{NAMESPACE}title").text == pictures[0, labels[0]].find(
        f"{NAMESPACE}title"
    ).text  # fmt: skip
    for field, params in (("instance", {"instance": 2}), ("instance", {"instance": "x"}), ("output", {"output": "x"})):
        check(client.get(place, params=params, headers=PNG), 422, "invalid_input", None, field)


def test_an_asynchronous_explanation_is_drawn_on_request(client):
    request = {**one_output("penguins", client), "seed": 31}
    accepted = client.post("/explain", json=request, headers={"Prefer": "respond-async", **PNG})
    assert accepted.status_code == 202
    assert accepted.headers["content-type"] == "application/json"
    await_done(client, accepted.headers["Location"])
    picture = client.get(accepted.headers["Location"], headers=PNG)
    assert picture.content.startswith(b"\x89PNG")


REFUSED = {
    "several instances": ({"instances": [example("linear")["instances"][0]] * 2}, "instances"),
    "several outputs": ({"model": "wine", "instances": example("wine")["instances"], "outputs": "all"}, "outputs"),
    "a summary": ({"summary": True}, "summary"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_requests_that_need_several_pictures_are_refused(case, client):
    change, field = REFUSED[case]
    check(client.post("/explain", json={**example("linear"), **change}, headers=SVG), 422, "invalid_input", None, field)


def test_errors_are_problems_for_every_accept_header(client):
    check(
        client.post("/explain", json={**example("linear"), "seed": -1}, headers=SVG), 422, "invalid_input", None, "seed"
    )
    check(client.get(f"/explanations/{'0' * 32}", headers=PNG), 404, "unknown_explanation", None, None)
    for kind in ("text/html", "image/gif", "application/json;q=0"):
        refused = client.post("/explain", json=example("linear"), headers={"Accept": kind})
        check(refused, 406, "not_acceptable", None, None)
        assert "image/svg+xml" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, None),
        ("", None),
        ("*/*", None),
        ("application/*", None),
        ("image/svg+xml", "svg"),
        ("IMAGE/PNG", "png"),
        ("image/*", "svg"),
        ("image/png, image/svg+xml;q=0.9", "png"),
        ("image/png;q=0.2, image/*;q=0.1, */*;q=0.01", "png"),
        ("image/avif,image/webp,image/apng,image/svg+xml,image/*,*/*;q=0.8", "svg"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", None),
        ("application/json;q=0.5, image/png", "png"),
        ("application/json, image/png", None),
        ("*/*, image/svg+xml;q=0", None),
        ("application/problem+json", None),
        ("application/problem+json, image/png", "png"),
    ],
)
def test_the_preferred_type_is_chosen(accept, kind):
    assert picture_kind(Headers({} if accept is None else {"accept": accept})) == kind


@pytest.mark.parametrize("accept", ["text/plain", "image/png;q=0", "image/png;q=nan", "svg", "image/svg", ";;;", "q=1"])
def test_unsupported_types_are_not_acceptable(accept):
    with pytest.raises(NotAcceptable):
        picture_kind(Headers({"accept": accept}))


def test_a_value_outside_the_range_is_named_in_the_picture(client):
    request = one_output("penguins", client)
    request["instances"][0]["bill_length_mm"] = -5
    (outside,) = client.post("/explain", json=request).json()["explanations"][0]["out_of_range"]
    shown = " ".join(texts(parsed(client.post("/explain", json=request, headers=SVG))))
    assert "Do not rely on this: outside the model's range: bill_length_mm = −5 (range " in shown
    assert f"{outside['low']:.4g} to {outside['high']:.4g}" in shown
