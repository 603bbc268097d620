"""The inputs of a network, described from its background: the range of an image."""

import numpy as np
import pytest

from whyserve.export.package.inputs import range_of

LEVELS = np.linspace(0, 1, 50).reshape(2, 5, 5)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (LEVELS, (0, 1)),
        (LEVELS * 0.7, (0, 1)),
        (LEVELS * 255, (0, 255)),
        (LEVELS * 200, (0, 255)),
        ((LEVELS * 9).astype(np.uint8), (0, 255)),
        (LEVELS * 16, (0, 16)),
        (LEVELS * 2 - 1, (-1, 1)),
        (np.full((2, 5, 5), 3.0), (3, 4)),
    ],
)
def test_black_and_white_are_guessed_from_the_background(images, expected):
    assert range_of(images) == expected
