"""Players over every protocol: the same numbers, pictures, and refusals that name the place."""

import json

import numpy as np
import pytest

from tests.api.oip.conftest import inputs_of, rows_of
from tests.api.oip.test_explain import ask
from tests.conftest import example

PATCHES = {"image": {"patches": [2, 2]}}
CASES = {
    "digits": PATCHES,
    "sunspots": {"past": {"windows": 4}},
    "places": {"name": {"words": True}},
    "elnino": {"groups": {"both": ["past", "month"]}},
    "penguins": {"hold": ["known"], "measured": {"groups": {"bill": ["bill_length_mm", "bill_depth_mm"]}}},
}


def request(name, players, **more):
    return {**example(name), "players": players, "outputs": "all", **more}


def answered(client, body):
    found = client.post("/explain", json=body)
    assert found.status_code == 200, found.text
    return found.json()


@pytest.mark.parametrize("name", CASES)
def test_the_numbers_are_the_same_over_every_protocol(name, client):
    players = CASES[name]
    answer = answered(client, request(name, players, method="permutation"))
    assert "expected_distance" not in answer
    body = request(name, players, method="permutation")
    del body["model"]
    first = client.post(f"/v1/models/{name}:explain", json=body).json()
    assert first["explanations"] == answer["explanations"]
    parameters = {"players": json.dumps(players), "method": "permutation"}
    found = ask(client, name, inputs_of(rows_of(name)), **parameters)
    names, tensor = found.as_numpy("players"), found.as_numpy("attributions")
    for row, explanation in enumerate(answer["explanations"]):
        for place, output in enumerate(explanation["outputs"]):
            total = tensor[row, :, place].sum()
            assert output["value"] == pytest.approx(output["base_value"] + output["residual"] + total, abs=1e-9)
            listed = [each for part in output["attributions"].values() if isinstance(part, list) for each in part]
            listed += output.get("players", [])
            by_name = dict(zip((label.decode() for label in names[row]), tensor[row, :, place], strict=True))
            if name == "places":  # the words of ids are those of the decoded text, which has other letters
                by_name = dict(zip((each["player"] for each in listed), tensor[row, :, place], strict=False))
            assert all(by_name[each["player"]] == each["value"] for each in listed)
    assert tensor.shape == (*names.shape, len(answer["explanations"][0]["outputs"]))


def test_a_group_and_a_held_input_leave_the_attributions(client):
    output = answered(client, request("penguins", CASES["penguins"]))["explanations"][0]["outputs"][0]
    assert set(output["attributions"]) == {"flipper_length_mm", "body_mass_g"}
    (group,) = output["players"]
    assert group["members"] == ["bill_length_mm", "bill_depth_mm"]


def test_eight_patches_are_exact_although_the_certificate_refuses_64_pixels(client):
    body = request("digits", {"image": {"patches": [2, 4]}})
    exact, sampled = (answered(client, {**body, "method": method}) for method in ("exact", "auto"))
    one, other = (
        np.array([[p["value"] for p in o["attributions"]["image"]] for o in answer["explanations"][0]["outputs"]])
        for answer in (exact, sampled)
    )
    assert sampled["method_reason"] == "the certificate measured other players"
    assert np.abs(one - other).mean() < 0.1 * np.abs(one).mean()


@pytest.mark.parametrize("scale", ["output", "log_odds"])
def test_interactions_of_named_players_stand_in_the_order_of_the_answer(scale, client):
    # The group holds the first feature. Its player is listed last.
    players = {"measured": {"groups": {"size": ["bill_length_mm", "body_mass_g"]}}}
    how = {"interactions": True, "scale": scale}
    answer = answered(client, request("penguins", players, **how))
    output = answer["explanations"][0]["outputs"][0]
    assert answer["interaction_players"][-1] == "size"
    shares = [*output["attributions"].values(), *(group["value"] for group in output["players"])]
    assert np.sum(output["interactions"], 1) == pytest.approx(shares, abs=1e-9)
    assert answer.get("scale", "output") == scale
    parameters = {"players": json.dumps(players), **how}
    found = ask(client, "penguins", inputs_of(rows_of("penguins")), **parameters)
    assert [name.decode() for name in found.as_numpy("players")[0]] == answer["interaction_players"]
    np.testing.assert_allclose(found.as_numpy("interactions").sum(2), found.as_numpy("attributions"), atol=1e-9)


def test_interactions_need_players_that_every_row_has(client):
    refused = client.post("/explain", json=request("digits", {"image": {"superpixels": 4}}, interactions=True))
    assert refused.status_code == 422
    assert "differ from row to row" in refused.json()["detail"]


def test_a_held_input_has_no_tensor_of_its_own(client):
    found = ask(client, "penguins", inputs_of(rows_of("penguins")), players=json.dumps({"hold": ["known"]}))
    assert found.as_numpy("attributions.known") is None
    assert found.as_numpy("attributions").shape[1] == found.as_numpy("players").shape[1] == 4


@pytest.mark.parametrize(
    ("name", "key", "players"),
    [
        ("digits", "image", {"patches": [2, 2], "absent": "blur"}),
        ("places", "name", {"words": True, "absent": "removal"}),
    ],
)
def test_absent_is_named_beside_the_background(name, key, players, client):
    answer = answered(client, request(name, {key: players}))
    assert answer["background"]["absent"] == {key: players["absent"]}
    assert answer["background"]["rows"] == 1


@pytest.mark.parametrize("kind", ["image/svg+xml", "image/png"])
@pytest.mark.parametrize(
    ("name", "players"),
    [*CASES.items(), ("digits", {"image": {"superpixels": 6}}), ("elnino", {"past": {"windows": 2}})],
    ids=str,
)
def test_players_are_drawn(name, players, kind, client):
    body = {**request(name, players), "outputs": "top", "instances": example(name)["instances"][:1]}
    picture = client.post("/explain", json=body, headers={"Accept": kind})
    assert picture.status_code == 200, picture.text
    assert picture.headers["content-type"].startswith(kind)
    if name == "places" and kind == "image/svg+xml":
        assert "".join(body["instances"][0]["name"].split()[0]) in picture.text


def test_a_summary_has_fixed_players_only(client):
    body = {**request("sunspots", CASES["sunspots"]), "summary": True}
    accepted = client.post("/explain", json=body)
    assert accepted.status_code == 202, accepted.text
    refused = client.post("/explain", json={**request("places", CASES["places"]), "summary": True})
    assert refused.status_code == 422
    assert "differ from row to row" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("players", "field"),
    [
        ({"image": {"patches": [2, 9]}}, "players.image.patches"),
        ({"image": {"absent": "night"}}, "players.image.absent"),
        ({"hold": ["image"]}, "players.hold"),
        ({"picture": {}}, "players"),
        ({"tree": {"top": ["image[0][0][0]", "image[9][9][0]"]}}, "players.tree.top[1]"),
        ([], "players"),
    ],
)
def test_wrong_players_are_refused_with_their_place_over_every_protocol(players, field, client):
    body = request("digits", players)
    # KServe's protocols answer 400 to any bad request.
    for path, status in (("/explain", 422), ("/v1/models/digits:explain", 400)):
        sent = body if path == "/explain" else {key: value for key, value in body.items() if key != "model"}
        refused = client.post(path, json=sent)
        assert refused.status_code == status, refused.text
        assert field in refused.text
    pixels = np.zeros(64).tolist()
    tensor = {"name": "image", "shape": [1, 8, 8, 1], "datatype": "FP32", "data": pixels}
    refused = client.post("/v2/models/digits/explain", json={"inputs": [tensor], "parameters": {"players": players}})
    assert refused.status_code == 400
    assert field in refused.text


def test_the_chosen_players_are_named_where_a_distance_is_and_other_players_have_none(client):
    """In every protocol, and the page of the model has the same players."""
    chosen = {"image": {"patches": [3, 3]}}
    answer = answered(client, example("digits"))
    assert len(answer["explanations"][0]["outputs"][0]["attributions"]["image"]) == 9
    assert answer["expected_distance"] <= 0.05
    assert 20 * 2 * 8 * answer["samples"] <= 2200  # network rows: background rows, both of a pair, players but one
    assert answer["measured_players"] == chosen == client.get("/models/digits").json()["certificate"]["players"]
    tensors = ask(client, "digits", inputs_of(rows_of("digits"))).get_response()
    assert json.loads(tensors["parameters"]["measured_players"]) == chosen
    other = answered(client, {**example("digits"), "players": {}})
    assert np.shape(other["explanations"][0]["outputs"][0]["attributions"]["image"]) == (8, 8, 1)
    assert not {"expected_distance", "measured_players"} & set(other)


def test_a_tree_adds_up_over_every_protocol(client):
    tree = {"bill": ["bill_length_mm", "bill_depth_mm"], "body": ["bill", "body_mass_g"]}
    body = request("penguins", {"tree": tree}, method="owen")
    answer = answered(client, body)
    assert answer["method"] == "owen"
    assert not {"expected_distance", "reliable"} & set(answer)
    for explanation in answer["explanations"]:
        for output in explanation["outputs"]:
            shares, (outer, inner) = output["attributions"], output["tree"]
            assert [outer["group"], outer["members"], inner["members"]] == ["body", tree["body"], tree["bill"]]
            assert inner["value"] == pytest.approx(sum(shares[name] for name in tree["bill"]), abs=1e-12)
            assert outer["value"] == pytest.approx(inner["value"] + shares["body_mass_g"], abs=1e-12)
            assert abs(output["residual"]) < 1e-5
    del body["model"]
    assert client.post("/v1/models/penguins:explain", json=body).json()["explanations"] == answer["explanations"]
    found = ask(client, "penguins", inputs_of(rows_of("penguins")), players=json.dumps({"tree": tree}), method="owen")
    first, place = answer["explanations"][0]["outputs"][0]["attributions"], found.as_numpy("attributions.measured")
    assert sorted(place[0, :, 0].tolist() + found.as_numpy("attributions.known")[0, :, 0].tolist()) == pytest.approx(
        sorted(first.values())
    )
    assert found.as_numpy("groups")[0].tolist() == [b"body", b"bill"]
    values = [each["value"] for each in answer["explanations"][0]["outputs"][0]["tree"]]
    np.testing.assert_allclose(found.as_numpy("group_attributions")[0, :, 0], values, atol=1e-9)


def test_natural_trees_need_no_words(client):
    """Patches are in quadrants, which are larger than what is enumerated; a short name is one sentence."""
    answer = answered(client, request("digits", {"image": {"patches": [8, 4]}}, method="owen", samples=2))
    output = answer["explanations"][0]["outputs"][0]
    quadrants = [each for each in output["tree"] if each["members"][0].startswith("rows")]
    assert len(quadrants) == 4
    assert all(len(each["members"]) == 4 for each in quadrants)
    total = output["value"] - output["base_value"] - output["residual"]
    assert sum(each["value"] for each in quadrants) == pytest.approx(total, abs=1e-9)
    assert all(each["standard_error"] > 0 for each in quadrants)
    words = answered(client, request("places", CASES["places"], method="owen"))
    assert words["explanations"][0]["outputs"][0]["tree"] == []


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({}, 422, "players.tree"),
        ({"method": "permutation"}, 422, "players.tree"),
        ({"method": "owen", "standard_error": 0.1}, 422, "standard_error"),
        ({"method": "owen", "interactions": True}, 422, "interactions"),
    ],
)
def test_a_tree_is_for_one_method(change, status, field, client):
    tree = {"bill": ["bill_length_mm", "bill_depth_mm"]}
    refused = client.post("/explain", json=request("penguins", {"tree": tree}, **change))
    assert refused.status_code == status, refused.text
    assert field in refused.text
