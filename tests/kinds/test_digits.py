"""A model of images: nested lists or a file in, one attribution per pixel out."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.conftest import example
from tests.pictures import bomb, text_of


def test_the_service_recognises_real_digits(client):
    data = load_digits()
    instances = [{"image": image[..., None].tolist()} for image in data.images[:500]]
    answer = client.post("/predict", json={"model": "digits", "instances": instances})
    assert answer.status_code == 200, answer.text
    labels = [int(prediction["label"]) for prediction in answer.json()["predictions"]]
    assert np.mean(np.array(labels) == data.target[:500]) > 0.96


def test_attributions_have_the_shape_of_the_image_and_add_up(client):
    request = {**example("digits"), "players": {}}
    answer = client.post("/explain", json=request)
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["explanations"][0]["outputs"]
    values = np.array(output["attributions"]["image"])
    assert values.shape == (8, 8, 1)
    assert output["value"] - output["base_value"] - values.sum() == pytest.approx(output["residual"], abs=1e-6)
    assert abs(output["residual"]) < 3e-3


def test_pixels_with_large_attributions_change_the_prediction(client):
    """A tenth of the pixels gets the average value: those with the largest attributions lower the score more."""
    images = load_digits().images
    chosen, average = images[-20:, ..., None], images.mean(0).ravel()
    instances = [{"image": image.tolist()} for image in chosen]
    request = {"model": "digits", "instances": instances, "players": {}, "samples": 4}
    explained = client.post("/explain", json=request).json()["explanations"]
    outputs = [explanation["outputs"][0] for explanation in explained]
    scores = []
    for take in (slice(-6, None), slice(0, 6)):
        changed = chosen.copy().reshape(20, 64)
        for image, output in zip(changed, outputs, strict=True):
            pixels = np.abs(output["attributions"]["image"]).ravel().argsort()[take]
            image[pixels] = average[pixels]
        instances = [{"image": image.reshape(8, 8, 1).tolist()} for image in changed]
        answer = client.post("/predict", json={"model": "digits", "instances": instances}).json()
        scores.append(
            [
                prediction["scores"][output["output"]]
                for prediction, output in zip(answer["predictions"], outputs, strict=True)
            ]
        )
    before = np.mean([output["value"] for output in outputs])
    most, least = np.mean(scores, axis=1)
    assert before - most > 0.1
    assert before - least < 0.01


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ([[0.0] * 8] * 8, 'instances[0]: "image[0][0]" must be a list'),
        ([[[0.0]] * 8] * 7, 'instances[0]: "image" must hold at least 8'),
        (None, 'instances[0]: "image" must be a list'),
    ],
)
def test_an_image_of_another_shape_is_refused(image, words, client):
    answer = client.post("/predict", json={"model": "digits", "instances": [{"image": image}]})
    assert answer.status_code == 422
    assert words in answer.json()["detail"]


def test_a_file_gives_the_same_answer_as_its_numbers(client):
    """The levels 0 to 255 of a file become 0 to 16: exactly for PNG, approximately for JPEG."""
    levels = np.round(load_digits().images[:20] * (255 / 16)).astype(int)
    by_hand = [{"image": (level[..., None] / 255 * 16).tolist()} for level in levels]
    by_png = [{"image": text_of(level)} for level in levels]
    by_jpeg = [{"image": text_of(level, "JPEG", quality=98)} for level in levels]
    for path in ("/predict", "/explain"):
        one, two = (client.post(path, json={"model": "digits", "instances": rows}).json() for rows in (by_hand, by_png))
        assert one.get("predictions") == two.get("predictions")
        assert one.get("explanations") == two.get("explanations")
    mixed = client.post("/predict", json={"model": "digits", "instances": [by_hand[0], by_jpeg[1], by_png[2]]}).json()
    expected = client.post("/predict", json={"model": "digits", "instances": by_hand[:3]}).json()
    for prediction, wanted in zip(mixed["predictions"], expected["predictions"], strict=True):
        assert prediction["scores"] == pytest.approx(wanted["scores"], abs=0.05)
    background = {"model": "digits", "instances": by_png[:1], "background": [by_png[1], by_hand[2]]}
    assert client.post("/explain", json=background).json()["background"]["rows"] == 2


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (3, 'instances[1]: "image" must be a list, or a PNG or JPEG in base64'),
        ("aGVsbG8=", 'instances[1]: "image" is not a PNG or JPEG file'),
        (text_of(np.zeros((9, 8))), 'instances[1]: "image" is an image of 8 × 9 pixels; the model takes 8 × 8'),
        (text_of(np.zeros((8, 8, 3))), 'instances[1]: "image" is an image of mode RGB'),
        (bomb(60_000, 60_000), "60000 × 60000 pixels"),
        ("A" * 12_000_000, 'instances[1]: "image" must have at most'),
    ],
)
@pytest.mark.parametrize("path", ["/predict", "/explain"])
def test_an_invalid_file_is_refused(path, image, words, client):
    instances = [example("digits")["instances"][0], {"image": image}]
    answer = client.post(path, json={"model": "digits", "instances": instances})
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]
    assert answer.json()["errors"][0] | {"message": ""} == {"instance": 1, "field": "image", "message": ""}
    assert len(answer.content) < 1000


def test_the_range_of_an_image_is_published(client):
    (item,) = client.get("/models/digits").json()["spec"]["inputs"]
    assert item["range"] == [0, 16]
    row = client.get("/openapi.json").json()["components"]["schemas"]["DigitsRow"]["properties"]["image"]
    assert row["x-range"] == [0, 16]
    assert [each["type"] for each in row["oneOf"]] == ["array", "string"]
