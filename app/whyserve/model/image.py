"""PNG and JPEG files in a request, as base64 → the numbers that an image input takes.

The header of a file is checked first. A file of the wrong size or mode is refused before its pixels are decoded.
"""

import base64
import binascii
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from whyserve.errors import TooManyInstances
from whyserve.model.input_spec import InputSpec
from whyserve.model.rows import Row, fault_in
from whyserve.model.spec import ModelSpec

# The size of one file. It is far above the size of any image that a network takes as its input.
MOST_BYTES = 8 << 20
MOST_TEXT = -(-MOST_BYTES // 3) * 4  # the same in base64
# The numbers that all images of one request may decode to: as many as a large body can hold as lists.
MOST_NUMBERS = 16 << 20
# The numbers for black and white if model.toml gives no range.
LEVELS = (0.0, 255.0)
# Each scan of a JPEG goes over all of its pixels. A progressive JPEG has about ten.
SCAN, MOST_SCANS = b"\xff\xda", 100
# Pillow reads the segments of a JPEG and the chunks of a PNG in Python, one by one. A PNG of 8 MiB has about 1000.
MOST_PARTS = 10_000
# The segments of a JPEG that change its pixels: tables, frames, and the colour transforms of JFIF and Adobe.
JPEG_KEPT = frozenset({0xC4, 0xDB, 0xDD, 0xE0, 0xEE, *range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xD0)})
FILL = re.compile(rb"\xff+")
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"
MODES: Mapping[str, str] = {"L": "L (8-bit greyscale)", "RGB": "RGB (8 bits per channel)"}


class InvalidImage(ValueError):
    """A file that the input does not take. The message follows the name of the input."""


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of an image input: size in pixels, mode L (greyscale) or RGB, and the axis of the channels, if any."""

    width: int
    height: int
    mode: str
    channels: int | None

    @classmethod
    def of(cls, item: InputSpec) -> "Layout | None":
        """The layout of an image with one or three channels; None for an input that no image file fits."""
        if (axes := item.image_axes()) is None:
            return None
        height, width, axis = axes
        mode = {1: "L", 3: "RGB"}.get(1 if axis is None else item.shape[axis])
        return None if mode is None else cls(width, height, mode, axis)


class Pictures:
    """Replaces the image files in the rows of one model by numbers."""

    def __init__(self, spec: ModelSpec) -> None:
        found = ((item, Layout.of(item)) for item in spec.inputs)
        self._inputs = [(item, layout) for item, layout in found if layout is not None]

    def __bool__(self) -> bool:
        """Whether the model takes image files."""
        return bool(self._inputs)

    def found(self, rows: Sequence[Row]) -> bool:
        """Whether a row holds a file."""
        return any(isinstance(row[item.name], str) for item, _ in self._inputs for row in rows)

    def __call__(self, rows: Sequence[Row], place: str = "instances") -> Sequence[Row]:
        """The rows with numbers in place of files. place: the field of the request that holds the rows.

        Raises InvalidInput, which names the row and the key, and TooManyInstances if the numbers would not fit in
        memory.
        """
        if not self._inputs:
            return rows
        numbers = 0
        decoded_rows: list[Row] = []
        for number, row in enumerate(rows):
            decoded: dict[str, Any] = {}
            for item, layout in self._inputs:
                if not isinstance(row[item.name], str):
                    continue
                numbers += int(np.prod(item.shape))
                if numbers > MOST_NUMBERS:
                    words = "holds more images than one request can decode; send fewer rows at once"
                    raise TooManyInstances(f'"{place}" {words}', field=place)
                try:
                    decoded[item.name] = read_image(row[item.name], item, layout)
                except InvalidImage as fault:
                    raise fault_in(place, number, str(fault), item.name) from None
            decoded_rows.append({**row, **decoded} if decoded else row)
        return decoded_rows


def read_image(text: str, item: InputSpec, layout: Layout) -> np.ndarray:
    """A PNG or JPEG in base64 → numbers in the shape, dtype and range of the input. Raises InvalidImage."""
    levels = _levels(_content(text), layout) / 255
    if layout.channels is not None:
        levels = np.moveaxis(levels.reshape(layout.height, layout.width, -1), 2, layout.channels)
    black, white = item.black_and_white(LEVELS)
    scaled: np.ndarray = black + levels * (white - black)
    return (scaled if item.is_float else np.rint(scaled)).astype(item.dtype)


def _content(text: str) -> bytes:
    if len(text) > MOST_TEXT:
        raise InvalidImage(f"is a file of more than {MOST_BYTES >> 20} MiB; send a smaller file")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidImage("is not valid base64; send the base64 of the file only, without data:…") from None


def _levels(content: bytes, layout: Layout) -> np.ndarray:
    """The pixels, (H, W) or (H, W, 3), from 0 to 255."""
    # Pillow has readers for many formats. Only these two are ever called.
    try:
        if content.startswith(PNG):
            image: Any = PngImageFile(io.BytesIO(_without_metadata(content)))
        elif content.startswith(JPEG):
            if content.count(SCAN) > MOST_SCANS:
                raise InvalidImage(f"is a JPEG with more than {MOST_SCANS} scans; save the file again")
            image = JpegImageFile(io.BytesIO(_without_segments(content)))
        else:
            raise InvalidImage("is not a PNG or JPEG file")
        with image:
            _check(image, layout)
            return np.asarray(image)
    except InvalidImage:
        raise
    except Exception:  # Pillow raises many types for a damaged file, SyntaxError among them
        raise InvalidImage("is an image file that cannot be read; the file is damaged or incomplete") from None


def _without_segments(content: bytes) -> bytes:
    """A JPEG whose header has only the segments that change its pixels. Fill bytes and metadata cost Pillow much time.

    Raises InvalidImage for too many segments.
    """
    kept, at = [content[:2]], 2
    for _ in range(MOST_PARTS):
        fill = FILL.match(content, at)
        if fill is None or fill.end() + 2 > len(content):
            return content  # damaged: Pillow says so, without reading on
        marker, at = content[fill.end()], fill.end() + 1
        end = at + int.from_bytes(content[at : at + 2])
        if marker == SCAN[1]:
            return b"".join([*kept, SCAN, content[at:]])
        if marker in JPEG_KEPT:
            kept += [b"\xff", content[fill.end() : end]]
        at = end
    raise InvalidImage(f"is a JPEG with more than {MOST_PARTS} segments; save the file again")


def _without_metadata(content: bytes) -> bytes:
    """The chunks of a PNG that hold pixels. Compressed texts and colour profiles cost time and change no number.

    Raises InvalidImage for an animated PNG, and for too many chunks.
    """
    kept, at, parts = [PNG], len(PNG), 0
    while at + 8 <= len(content):
        parts += 1
        if parts > MOST_PARTS:
            raise InvalidImage(f"is a PNG with more than {MOST_PARTS} chunks; save the file again")
        end = at + 12 + int.from_bytes(content[at : at + 4])
        name = content[at + 4 : at + 8]
        if name == b"acTL":
            raise InvalidImage("is an animated image; send a still image")
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _check(image: Any, layout: Layout) -> None:
    """The size and the mode, from the header of the file."""
    if image.size != (layout.width, layout.height):
        width, height = image.size
        raise InvalidImage(
            f"is an image of {width} × {height} pixels; the model takes {layout.width} × {layout.height}"
        )
    if image.mode != layout.mode:
        raise InvalidImage(f"is an image of mode {image.mode}; the model takes {MODES[layout.mode]}")
