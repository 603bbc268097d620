"""Pictures in rows: how they lie in each layout, their levels, and what is refused without being unpacked."""

import base64
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from tests.pictures import animated, bomb, scans, text_of, wordy
from whyserve.errors import InvalidInput, TooManyInstances
from whyserve.model.image import MOST_BYTES, MOST_NUMBERS, Layout, NotTaken, Pictures, read_picture
from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import ModelSpec, OutputSpec

RNG = np.random.default_rng(0)
GREY, COLOUR = RNG.integers(0, 256, (5, 4)), RNG.integers(0, 256, (5, 4, 3))


def image(shape, **more):
    return InputSpec(name="image", kind="image", shape=shape, **more)


def read(item, text):
    layout = Layout.of(item)
    assert layout is not None
    return read_picture(text, item, layout)


@pytest.mark.parametrize(
    ("shape", "pixels", "expected"),
    [
        ((5, 4), GREY, GREY),
        ((5, 4, 1), GREY, GREY[..., None]),
        ((1, 5, 4), GREY, GREY[None]),
        ((5, 4, 3), COLOUR, COLOUR),
        ((3, 5, 4), COLOUR, COLOUR.transpose(2, 0, 1)),
    ],
)
def test_pixels_lie_as_the_network_has_them(shape, pixels, expected):
    for dtype in ("float32", "uint8"):
        found = read(image(shape, dtype=dtype), text_of(pixels))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_levels_become_what_the_network_takes_them_for():
    levels = np.arange(20).reshape(5, 4) * 13
    levels[-1, -1] = 255
    for low, high in ((0, 1), (0, 16), (-1, 1)):
        found = read(image((5, 4), range=(low, high)), text_of(levels))
        np.testing.assert_allclose(found, low + levels / 255 * (high - low), rtol=1e-6, atol=1e-7)
        assert (found[0, 0], found[-1, -1]) == (low, high)


def test_a_jpeg_is_nearly_its_pixels():
    smooth = np.add.outer(np.arange(32) * 4, np.arange(32) * 3)
    found = read(image((32, 32, 1)), text_of(smooth, "JPEG", quality=95))
    np.testing.assert_allclose(found[..., 0], smooth, atol=4)


def test_what_is_written_beside_the_pixels_is_never_unpacked():
    text = wordy(GREY)
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(read(image((5, 4)), text), GREY)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_what_no_picture_fits_has_no_layout():
    for shape in ((5,), (5, 4, 2), (2, 5, 4), (1, 2, 3, 4)):
        assert Layout.of(image(shape)) is None
    assert Layout.of(InputSpec(name="x", kind="tensor", shape=(5, 4, 3))) is None


GOOD = text_of(GREY)
BAD = {
    "not base64": ("é$", "is not base64"),
    "a data URL": (f"data:image/png;base64,{GOOD}", "is not base64 (of the file alone"),
    "empty": ("", "is no PNG or JPEG"),
    "text": (base64.b64encode(b"hello").decode(), "is no PNG or JPEG"),
    "a GIF": (text_of(GREY, "GIF"), "is no PNG or JPEG"),
    "a TIFF": (text_of(GREY, "TIFF"), "is no PNG or JPEG"),
    "cut short": (base64.b64encode(base64.b64decode(GOOD)[:-30]).decode(), "is broken or cut short"),
    "a head alone": (base64.b64encode(base64.b64decode(GOOD)[:16]).decode(), "is broken or cut short"),
    "a JPEG's first bytes": (base64.b64encode(b"\xff\xd8\xff\xe0\x00").decode(), "is broken or cut short"),
    "another size": (text_of(np.zeros((4, 5))), "is a picture of 5 × 4 pixels; 4 × 5 are needed"),
    "colour for grey": (text_of(COLOUR), "is a picture of mode RGB; L, eight bits of grey, is needed"),
    "transparency": (text_of(Image.new("LA", (4, 5))), "is a picture of mode LA"),
    "a palette": (text_of(Image.new("P", (4, 5))), "is a picture of mode P"),
    "sixteen bits": (text_of(Image.new("I;16", (4, 5))), "is a picture of mode I;16"),
    "CMYK": (text_of(Image.new("CMYK", (4, 5)), "JPEG"), "is a picture of mode CMYK"),
    "animated": (animated(GREY), "is an animated picture"),
    "a bomb": (bomb(60_000, 60_000), "is a picture of 60000 × 60000 pixels"),
    "a JPEG of a thousand scans": (scans(1000), "is a JPEG of too many scans"),
    "a chunk longer than the file": (base64.b64encode(base64.b64decode(GOOD)[:8] + b"\xff" * 8).decode(), "is broken"),
    "too large a file": (base64.b64encode(bytes(MOST_BYTES + 10)).decode(), "is a picture of more than 8 MiB"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_is_not_taken_is_said_and_not_unpacked(case):
    text, words = BAD[case]
    tracemalloc.start()
    try:
        with pytest.raises(NotTaken) as caught:
            read(image((5, 4)), text)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert words in str(caught.value)


def pictures(shape):
    output = OutputSpec(names=("y",))
    return Pictures(ModelSpec(name="m", framework="torch", task="regression", inputs=(image(shape),), output=output))


def test_a_fault_names_its_row_and_rows_of_numbers_are_left_alone():
    rows = [{"image": GREY.tolist()}, {"image": GOOD}]
    read_rows = pictures((5, 4))(rows)
    assert read_rows[0] is rows[0]
    np.testing.assert_array_equal(read_rows[1]["image"], GREY)
    for place, named in (("instances", 'instances[2]: "image" is no PNG'), ("background", '"background[2].image" is')):
        with pytest.raises(InvalidInput) as caught:
            pictures((5, 4))([*rows, {"image": "aGVsbG8="}], place)
        assert caught.value.message.startswith(named)


def test_small_files_do_not_become_more_than_a_body_could_hold():
    flat = text_of(np.zeros((1000, 1000)))
    with pytest.raises(TooManyInstances, match="more pictures than can be unpacked"):
        pictures((1000, 1000))([{"image": flat}] * (MOST_NUMBERS // 1_000_000 + 1))
