"""Image files in rows: their layout, their levels, and the files that are refused before they are decoded."""

import base64
import io
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from tests.pictures import animated, bomb, scans, text_of, wordy
from whyserve.errors import InvalidInput, TooManyInstances
from whyserve.model.image import MOST_BYTES, MOST_NUMBERS, InvalidImage, Layout, Pictures, read_image
from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import ModelSpec, OutputSpec

RNG = np.random.default_rng(0)
GREY, COLOUR = RNG.integers(0, 256, (5, 4)), RNG.integers(0, 256, (5, 4, 3))


def image(shape, **more):
    return InputSpec(name="image", kind="image", shape=shape, **more)


def read(item, text):
    layout = Layout.of(item)
    assert layout is not None
    return read_image(text, item, layout)


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
def test_pixels_get_the_layout_of_the_input(shape, pixels, expected):
    for dtype in ("float32", "uint8"):
        found = read(image(shape, dtype=dtype), text_of(pixels))
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected)


def test_levels_are_scaled_to_the_range_of_the_input():
    levels = np.arange(20).reshape(5, 4) * 13
    levels[-1, -1] = 255
    for low, high in ((0, 1), (0, 16), (-1, 1)):
        found = read(image((5, 4), range=(low, high)), text_of(levels))
        np.testing.assert_allclose(found, low + levels / 255 * (high - low), rtol=1e-6, atol=1e-7)
        assert (found[0, 0], found[-1, -1]) == (low, high)


@pytest.mark.parametrize("shape", [(3, 5, 4), (5, 4, 3)])
def test_each_channel_has_its_own_range(shape):
    """As torchvision's ToTensor and Normalize scale a picture."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    item = image(shape, range=tuple(zip(-mean / std, (1 - mean) / std, strict=True)))
    found = read(item, text_of(COLOUR))
    normalised = (COLOUR / 255 - mean) / std
    expected = normalised if shape[-1] == 3 else normalised.transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_a_jpeg_gives_nearly_the_same_pixels():
    smooth = np.add.outer(np.arange(32) * 4, np.arange(32) * 3)
    found = read(image((32, 32, 1)), text_of(smooth, "JPEG", quality=95))
    np.testing.assert_allclose(found[..., 0], smooth, atol=4)


def test_metadata_of_a_png_is_never_decompressed():
    text = wordy(GREY)
    tracemalloc.start()
    try:
        np.testing.assert_array_equal(read(image((5, 4)), text), GREY)
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()


def test_an_input_that_no_image_file_fits_has_no_layout():
    for shape in ((5,), (5, 4, 2), (2, 5, 4), (1, 2, 3, 4)):
        assert Layout.of(image(shape)) is None
    assert Layout.of(InputSpec(name="x", kind="tensor", shape=(5, 4, 3))) is None


GOOD = text_of(GREY)
BAD = {
    "not base64": ("é$", "is not valid base64"),
    "a data URL": (f"data:image/png;base64,{GOOD}", "send the base64 of the file only"),
    "empty": ("", "is not a PNG or JPEG"),
    "text": (base64.b64encode(b"hello").decode(), "is not a PNG or JPEG"),
    "a GIF": (text_of(GREY, "GIF"), "is not a PNG or JPEG"),
    "a TIFF": (text_of(GREY, "TIFF"), "is not a PNG or JPEG"),
    "cut short": (base64.b64encode(base64.b64decode(GOOD)[:-30]).decode(), "is damaged or incomplete"),
    "a head alone": (base64.b64encode(base64.b64decode(GOOD)[:16]).decode(), "is damaged or incomplete"),
    "a JPEG's first bytes": (base64.b64encode(b"\xff\xd8\xff\xe0\x00").decode(), "is damaged or incomplete"),
    "another size": (text_of(np.zeros((4, 5))), "is an image of 5 × 4 pixels; the model takes 4 × 5"),
    "colour for grey": (text_of(COLOUR), "is an image of mode RGB; the model takes L (8-bit greyscale)"),
    "transparency": (text_of(Image.new("LA", (4, 5))), "is an image of mode LA"),
    "a palette": (text_of(Image.new("P", (4, 5))), "is an image of mode P"),
    "sixteen bits": (text_of(Image.new("I;16", (4, 5))), "is an image of mode I;16"),
    "CMYK": (text_of(Image.new("CMYK", (4, 5)), "JPEG"), "is an image of mode CMYK"),
    "animated": (animated(GREY), "is an animated image"),
    "a bomb": (bomb(60_000, 60_000), "is an image of 60000 × 60000 pixels"),
    "a JPEG of a thousand scans": (scans(1000), "is a JPEG with more than 100 scans"),
    "a chunk longer than the file": (base64.b64encode(base64.b64decode(GOOD)[:8] + b"\xff" * 8).decode(), "is damaged"),
    "too large a file": (base64.b64encode(bytes(MOST_BYTES + 10)).decode(), "is a file of more than 8 MiB"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_invalid_file_is_refused_and_not_decoded(case):
    text, words = BAD[case]
    tracemalloc.start()
    try:
        with pytest.raises(InvalidImage) as caught:
            read(image((5, 4)), text)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()
    assert words in str(caught.value)


def pictures(shape):
    output = OutputSpec(names=("y",))
    return Pictures(ModelSpec(name="m", framework="torch", task="regression", inputs=(image(shape),), output=output))


def test_a_fault_names_the_row_and_rows_of_numbers_stay_the_same():
    rows = [{"image": GREY.tolist()}, {"image": GOOD}]
    read_rows = pictures((5, 4))(rows)
    assert read_rows[0] is rows[0]
    np.testing.assert_array_equal(read_rows[1]["image"], GREY)
    for place, named in (
        ("instances", 'instances[2]: "image" is not a PNG'),
        ("background", '"background[2].image" is'),
    ):
        with pytest.raises(InvalidInput) as caught:
            pictures((5, 4))([*rows, {"image": "aGVsbG8="}], place)
        assert caught.value.message.startswith(named)


def test_many_small_files_of_large_images_are_refused():
    flat = text_of(np.zeros((1000, 1000)))
    with pytest.raises(TooManyInstances, match="more images than one request can decode"):
        pictures((1000, 1000))([{"image": flat}] * (MOST_NUMBERS // 1_000_000 + 1))


def segments(count, marker=b"\xff\xe0"):
    """A JPEG with this many empty segments in its header."""
    content = io.BytesIO()
    Image.new("L", (4, 5), 90).save(content, "JPEG")
    whole = content.getvalue()
    return base64.b64encode(whole[:2] + (marker + b"\0\2") * count + whole[2:]).decode()


@pytest.mark.parametrize("marker", [b"\xff\xe0", b"\xff\xfe", b"\xff\xe1"])
def test_many_empty_segments_are_refused_without_reading_them(marker):
    item = image((5, 4))
    assert read(item, segments(9000, marker)).mean() == pytest.approx(90, abs=2)
    began = time.process_time()
    with pytest.raises(InvalidImage, match="is a JPEG with more than 10000 segments"):
        read(item, segments(1_500_000, marker))
    assert time.process_time() - began < 0.5


def test_fill_bytes_cost_no_time():
    content = base64.b64decode(segments(0))
    filled = base64.b64encode(content[:2] + b"\xff" * 6_000_000 + content[2:]).decode()
    began = time.process_time()
    assert read(image((5, 4)), filled).mean() == pytest.approx(90, abs=2)
    assert time.process_time() - began < 0.5


def test_many_chunks_of_a_png_are_refused():
    content = io.BytesIO()
    Image.new("L", (4, 5), 90).save(content, "PNG")
    whole = content.getvalue()
    chunk = b"\0\0\0\0PLTE\0\0\0\0"
    many = base64.b64encode(whole[:33] + chunk * 400_000 + whole[33:]).decode()
    began = time.process_time()
    with pytest.raises(InvalidImage, match="is a PNG with more than 10000 chunks"):
        read(image((5, 4)), many)
    assert time.process_time() - began < 0.5


def test_a_png_may_have_many_small_chunks():
    """libpng writes a chunk for each 8 KiB, so a file of 8 MiB has 1000 of them."""
    whole = base64.b64decode(text_of(GREY))
    empty = b"\0\0\0\0IDAT" + zlib.crc32(b"IDAT").to_bytes(4)
    many = base64.b64encode(whole[:33] + empty * 5000 + whole[33:]).decode()
    began = time.process_time()
    assert np.array_equal(read(image((5, 4)), many), GREY)
    assert time.process_time() - began < 0.5


def test_base64_may_have_line_ends():
    text = segments(0)
    lines = "\r\n".join(text[at : at + 76] for at in range(0, len(text), 76))
    assert np.array_equal(read(image((5, 4)), lines), read(image((5, 4)), text))


def test_a_jpeg_of_every_kind_keeps_its_pixels():
    drawn = Image.fromarray(COLOUR.astype(np.uint8))
    for options in (
        {"quality": 95},
        {"progressive": True},
        {"subsampling": 2, "optimize": True},
        {"comment": b"x" * 99},
    ):
        content = io.BytesIO()
        drawn.save(content, "JPEG", **options)
        expected = np.asarray(Image.open(io.BytesIO(content.getvalue())))
        found = read(image((5, 4, 3)), base64.b64encode(content.getvalue()).decode())
        assert np.array_equal(found, expected)
