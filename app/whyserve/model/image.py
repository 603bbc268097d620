"""Pictures that stand in a request as PNG or JPEG, in base64 → the numbers that an image input takes.

What a picture holds is known from its head, before anything of it is unpacked: one of another size is never decoded.
"""

import base64
import binascii
import io
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

# Of one file. No picture that a network takes whole is near it.
MOST_BYTES = 8 << 20
MOST_TEXT = -(-MOST_BYTES // 3) * 4
# Numbers that the pictures of one request may unpack to: as many as a large body could hold as lists.
MOST_NUMBERS = 16 << 20
# What the levels of a picture, 0 to 255, become where model.toml does not say.
LEVELS = (0.0, 255.0)
# Each scan of a JPEG goes over all of its pixels; a progressive one has about ten.
SCAN, MOST_SCANS = b"\xff\xda", 100
PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


class NotTaken(ValueError):
    """A picture that cannot be taken; in words that follow its name."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How an image input lies: size in pixels, mode L (grey) or RGB, and where its channels are, if it has any."""

    width: int
    height: int
    mode: str
    channels: str | None  # first, last

    @classmethod
    def of(cls, item: InputSpec) -> "Layout | None":
        """None where the input is none of (H, W), (H, W, C) and (C, H, W) with C of 1 or 3: no picture fits it."""
        modes = {1: "L", 3: "RGB"}
        match item.shape if item.kind == "image" else ():
            case (height, width):
                return cls(width, height, "L", None)
            case (height, width, channels) if channels in modes:
                return cls(width, height, modes[channels], "last")
            case (channels, height, width) if channels in modes:
                return cls(width, height, modes[channels], "first")
        return None


class Pictures:
    """Puts numbers in the place of the pictures in rows of one model."""

    def __init__(self, spec: ModelSpec) -> None:
        found = ((item, Layout.of(item)) for item in spec.inputs)
        self._inputs = [(item, layout) for item, layout in found if layout is not None]

    def __call__(self, rows: Sequence[Row], place: str = "instances") -> Sequence[Row]:
        """Raises InvalidInput, which names the row and the key, and TooManyInstances. place: of the rows."""
        if not self._inputs:
            return rows
        numbers = 0
        made: list[Row] = []
        for number, row in enumerate(rows):
            decoded: dict[str, Any] = {}
            for item, layout in self._inputs:
                if not isinstance(row[item.name], str):
                    continue
                numbers += int(np.prod(item.shape))
                if numbers > MOST_NUMBERS:
                    raise TooManyInstances(f'"{place}" hold more pictures than can be unpacked at once', field=place)
                try:
                    decoded[item.name] = read_picture(row[item.name], item, layout)
                except NotTaken as fault:
                    raise fault_in(place, number, str(fault), item.name) from None
            made.append({**row, **decoded} if decoded else row)
        return made


def read_picture(text: str, item: InputSpec, layout: Layout) -> np.ndarray:
    """The numbers of a base64 PNG or JPEG, of the input's shape and dtype; levels as model.toml has them.

    Raises NotTaken.
    """
    levels = _levels(_content(text), layout) / 255
    low, high = item.range or LEVELS
    scaled = low + levels * (high - low)
    if layout.channels == "last" and layout.mode == "L":
        scaled = scaled[..., None]
    elif layout.channels == "first":
        scaled = scaled[None] if layout.mode == "L" else np.moveaxis(scaled, 2, 0)
    return (np.rint(scaled) if item.is_integer else scaled).astype(item.dtype)


def _content(text: str) -> bytes:
    if len(text) > MOST_TEXT:
        raise NotTaken(f"is a picture of more than {MOST_BYTES >> 20} MiB")
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NotTaken("is not base64 (of the file alone, without data:…)") from None


def _levels(content: bytes, layout: Layout) -> np.ndarray:
    """(H, W) or (H, W, 3) of 0 to 255."""
    # Pillow knows many formats, and these two readers alone are ever reached.
    try:
        if content.startswith(PNG):
            picture: Any = PngImageFile(io.BytesIO(_pixels_alone(content)))
        elif content.startswith(JPEG):
            if content.count(SCAN) > MOST_SCANS:
                raise NotTaken("is a JPEG of too many scans")
            picture = JpegImageFile(io.BytesIO(content))
        else:
            raise NotTaken("is no PNG or JPEG")
        with picture:
            _check(picture, layout)
            return np.asarray(picture)
    except NotTaken:
        raise
    except Exception:  # of many kinds, SyntaxError among them: whatever is wrong with a file
        raise NotTaken("is a picture that cannot be read: it is broken or cut short") from None


def _pixels_alone(content: bytes) -> bytes:
    """A PNG without what is no pixel: packed texts and colour profiles cost time, and change no number.

    Raises NotTaken for one that moves.
    """
    kept, at = [PNG], len(PNG)
    while at + 8 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4])
        name = content[at + 4 : at + 8]
        if name == b"acTL":
            raise NotTaken("is an animated picture; one that stands still is needed")
        if name in (b"IHDR", b"PLTE", b"IDAT", b"IEND"):
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _check(picture: Any, layout: Layout) -> None:
    if picture.size != (layout.width, layout.height):
        width, height = picture.size
        raise NotTaken(f"is a picture of {width} × {height} pixels; {layout.width} × {layout.height} are needed")
    if picture.mode != layout.mode:
        raise NotTaken(f"is a picture of mode {picture.mode}; {MODES[layout.mode]} is needed")


MODES: Mapping[str, str] = {"L": "L, eight bits of grey,", "RGB": "RGB, eight bits a channel,"}
