"""A text: a string in, one attribution per token out, with the characters that the token covers."""

import json
from typing import Any

import numpy as np
import pytest

from tests.conftest import MODELS, example

NAME = "Naujoji Zelandija"
SPOKEN = {
    "Nouvelle-Zélande": "French",
    "Niederösterreich": "German",
    "Új-Zéland": "Hungarian",
    "Nuova Zelanda": "Italian",
    NAME: "Lithuanian",
    "Nowa Zelandia": "Polish",
}


def asked(*names, **more):
    return {"model": "places", "instances": [{"name": name} for name in names], **more}


def outputs_of(client, *names, **more):
    answer = client.post("/explain", json=asked(*names, **more))
    assert answer.status_code == 200, answer.text
    return [explanation["outputs"][0] for explanation in answer.json()["explanations"]]


def finished(client, accepted) -> dict[str, Any]:
    assert accepted.status_code == 202, accepted.text
    while True:
        state: dict[str, Any] = client.get(accepted.headers["Location"]).json()
        if state["status"] in ("done", "failed"):
            return state


def test_the_service_recognises_languages(client):
    answer = client.post("/predict", json=asked(*SPOKEN))
    assert answer.status_code == 200, answer.text
    assert [prediction["label"] for prediction in answer.json()["predictions"]] == list(SPOKEN.values())


@pytest.mark.parametrize("method", ["auto", "permutation", "deep", "gradient", "kernel"])
def test_each_token_has_its_characters_and_the_attributions_add_up(method, client):
    for name, output in zip(SPOKEN, outputs_of(client, *SPOKEN, method=method), strict=True):
        *tokens, padding = output["attributions"]["name"]
        assert (padding["token"], padding["start"], padding["end"]) == ("[PAD]", len(name), len(name))
        # The tokens cover the whole text, in order.
        assert "".join(name[token["start"] : token["end"]] for token in tokens) == name
        assert "".join(token["token"] for token in tokens).replace("▁", " ").strip() == name.lower()
        total = sum(token["value"] for token in output["attributions"]["name"])
        assert output["value"] - output["base_value"] - total == pytest.approx(output["residual"], abs=1e-9)
        assert abs(output["residual"]) < 1e-4
        if method == "permutation":
            errors = output["standard_errors"]["name"]
            assert [token["token"] for token in errors] == [token["token"] for token in output["attributions"]["name"]]
            assert all(token["value"] >= 0 for token in errors)


def test_removing_the_token_with_the_largest_attribution_lowers_the_score_most(client):
    """The score of the language is lowest without that token."""
    (output,) = outputs_of(client, NAME, outputs=["Lithuanian"], method="permutation")
    *tokens, _ = output["attributions"]["name"]
    largest = max(range(len(tokens)), key=lambda place: tokens[place]["value"])
    left = [NAME[: token["start"]] + NAME[token["end"] :] for token in tokens]
    predictions = client.post("/predict", json=asked(*left)).json()["predictions"]
    scores = [prediction["scores"]["Lithuanian"] for prediction in predictions]
    assert min(scores) == scores[largest]
    assert tokens[largest]["token"] == "ija"


def test_positions_count_the_code_points_of_the_sent_text(client):
    # Decomposed accents, spaces and a code point outside the basic plane: the ids stay the same, the positions differ.
    plain, sent = "Új-Zéland", "  U\u0301j-Ze\u0301land"
    one, other = outputs_of(client, plain, sent, method="permutation", outputs=["Hungarian"])
    for output, name in ((one, plain), (other, sent)):
        assert "".join(name[t["start"] : t["end"]] for t in output["attributions"]["name"]).strip() == name.strip()
    (strange,) = outputs_of(client, "Új\U0001f1f3-Zéland", outputs=["Hungarian"])
    unknown = next(token for token in strange["attributions"]["name"] if token["token"] == "[UNK]")
    assert (unknown["start"], unknown["end"]) == (2, 3)


def test_two_texts_with_the_same_ids_have_separate_cache_entries(client):
    upper, lower = "LIETUVA", "lietuva "
    first = client.post("/explain", json=asked(upper))
    second = client.post("/explain", json=asked(lower))
    assert (first.headers["X-Cache"], second.headers["X-Cache"]) == ("miss", "miss")
    assert client.post("/explain", json=asked(upper)).headers["X-Cache"] == "hit"
    (ends, other_ends) = (
        [token["end"] for token in answer.json()["explanations"][0]["outputs"][0]["attributions"]["name"]]
        for answer in (first, second)
    )
    assert ends[-1] == len(upper)
    assert other_ends[-1] == len(lower)


def test_an_asynchronous_explanation_has_positions_too(client):
    accepted = client.post("/explain", json=asked("Lietuvos Respublika"), headers={"Prefer": "respond-async"})
    state = finished(client, accepted)
    (output,) = state["result"]["explanations"][0]["outputs"]
    assert output["attributions"]["name"][0]["start"] == 0
    assert output["attributions"]["name"][-1]["end"] == len("Lietuvos Respublika")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("東京", 'instances[1]: "name" has no token that this model knows'),
        ("   ", 'instances[1]: "name" has no token that this model knows'),
        ("", 'instances[1]: "name" must not be empty'),
        ("Süd-Georgien und die südlichen Sandwichinseln", "tokens, but this model takes at most 14; shorten it"),
        ("a" * 449, 'instances[1]: "name" must have at most 448 characters'),
        ([2, 3], 'instances[1]: "name" must be a string'),
        (None, 'instances[1]: "name" must be a string'),
    ],
)
def test_an_invalid_text_is_refused_without_the_text_in_the_message(name, words, client):
    for path in ("/predict", "/explain", "/v1/models/places:predict"):
        answer = client.post(path, json=asked(NAME, name))
        assert answer.status_code == (400 if path.startswith("/v1") else 422), answer.text
        assert words in answer.text.replace('\\"', '"')
        assert "Georgien" not in answer.text
        if path == "/predict":
            assert answer.json()["errors"][0] | {"message": ""} == {"instance": 1, "field": "name", "message": ""}


def test_a_summary_has_one_value_per_position(client):
    accepted = client.post("/explain", json=asked(*SPOKEN, summary=True))
    state = finished(client, accepted)
    assert all(len(each["mean_absolute_attributions"]["name"]) == 14 for each in state["result"]["summary"])


def test_a_tensor_can_hold_strings_or_ids(client):
    def infer(tensor, what="infer", **more):
        return client.post(f"/v2/models/places/{what}", json={"inputs": [{"name": "name", **tensor}], **more})

    texts = infer({"shape": [2, 1], "datatype": "BYTES", "data": [NAME, "Nowa Zelandia"]})
    assert texts.status_code == 200, texts.text
    rows = np.array(texts.json()["outputs"][0]["data"]).reshape(2, 6)
    served = client.post("/predict", json=asked(NAME, "Nowa Zelandia")).json()["predictions"]
    np.testing.assert_allclose(rows, [list(prediction["scores"].values()) for prediction in served])
    known = json.loads((MODELS / "places" / "tokenizer.json").read_text())["model"]["vocab"]
    ids = [known[token] for token in ("▁naujoji", "▁z", "eland", "ija")] + [0] * 10
    plain = infer({"shape": [1, 14], "datatype": "INT64", "data": ids})
    np.testing.assert_allclose(plain.json()["outputs"][0]["data"], rows[0])
    why = infer({"shape": [1], "datatype": "BYTES", "data": [NAME]}, "explain", parameters={"outputs": "top"})
    assert why.status_code == 200, why.text
    assert why.json()["outputs"][0]["shape"] == [1, 14, 1]
    for tensor, words in (
        ({"shape": [1, 14], "datatype": "INT64", "data": [1500, *ids[1:]]}, "holds an id outside the range 0 to 1499"),
        ({"shape": [1, 14], "datatype": "INT64", "data": [-1, *ids[1:]]}, "holds an id outside the range 0 to 1499"),
        ({"shape": [1, 2], "datatype": "BYTES", "data": [NAME, NAME]}, "strings must have shape (rows,) or (rows, 1)"),
        ({"shape": [], "datatype": "BYTES", "data": [NAME]}, "strings must have shape (rows,) or (rows, 1)"),
        ({"shape": [2], "datatype": "BYTES", "data": [NAME, "東京"]}, "row 1: has no token that this model knows"),
        ({"shape": [1], "datatype": "FP32", "data": [1.0]}, "must have INT64 or BYTES"),
    ):
        refused = infer(tensor)
        assert refused.status_code == 400, refused.text
        assert words in refused.json()["error"]


def test_the_example_is_a_valid_request(client):
    assert client.post("/predict", json=example("places")).status_code == 200


def test_v1_takes_a_text_without_a_key(client):
    answer = client.post("/v1/models/places:predict", json={"instances": [NAME, {"name": NAME}]})
    assert answer.status_code == 200, answer.text
    one, other = answer.json()["predictions"]
    assert one == other
    assert one["label"] == "Lithuanian"
    why = client.post("/v1/models/places:explain", json={"instances": [NAME]}).json()["explanations"]
    assert why[0]["outputs"][0]["attributions"]["name"][0]["end"] == len("Naujoji")
    refused = client.post("/v1/models/places:predict", json={"instances": [NAME, "東京"]})
    assert 'instances[1]: \\"name\\" has no token' in refused.text


def test_many_texts_get_their_own_answers_and_row_numbers(client):
    """More characters than the API reads at once."""
    names = [name + " " * (number % 3) for number in range(100) for name in SPOKEN]
    answer = client.post("/predict", json=asked(*names))
    assert [prediction["label"] for prediction in answer.json()["predictions"]] == list(SPOKEN.values()) * 100
    explained = outputs_of(client, *names[:300], method="deep")
    assert [output["attributions"]["name"][-1]["end"] for output in explained] == [len(name) for name in names[:300]]
    refused = client.post("/predict", json=asked(*names, "東京"))
    assert f'instances[{len(names)}]: "name" has no token' in refused.json()["detail"]
    data = [NAME + " " * 400] * 260
    tensor = {"name": "name", "shape": [len(data)], "datatype": "BYTES", "data": data}
    refused = client.post("/v2/models/places/infer", json={"inputs": [tensor]})
    assert "has more than 100000 characters; send fewer rows per request" in refused.json()["error"]
