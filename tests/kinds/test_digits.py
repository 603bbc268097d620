"""An image: a nested array in, one attribution a pixel out."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from tests.conftest import example


def test_what_is_served_reads_real_digits(client):
    data = load_digits()
    instances = [{"image": image[..., None].tolist()} for image in data.images[:500]]
    answer = client.post("/predict", json={"model": "digits", "instances": instances})
    assert answer.status_code == 200, answer.text
    labels = [int(prediction["label"]) for prediction in answer.json()["predictions"]]
    assert np.mean(np.array(labels) == data.target[:500]) > 0.96


def test_attributions_have_the_image_s_shape_and_add_up(client):
    request = example("digits")
    answer = client.post("/explain", json=request)
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["explanations"][0]["outputs"]
    values = np.array(output["attributions"]["image"])
    assert values.shape == (8, 8, 1)
    assert output["value"] - output["base_value"] - values.sum() == pytest.approx(output["residual"], abs=1e-6)
    assert abs(output["residual"]) < 1e-4


def test_the_pixels_that_count_are_those_that_change_the_answer(client):
    """With a tenth of the pixels made average, the label loses more by the most telling than by the least."""
    images = load_digits().images
    chosen, average = images[-20:, ..., None], images.mean(0).ravel()
    request = {"model": "digits", "instances": [{"image": image.tolist()} for image in chosen]}
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
