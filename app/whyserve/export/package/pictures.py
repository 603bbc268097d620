"""Rows of images as the pictures that a request can hold: the inverse of whyserve.model.image."""

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from whyserve.model.image import LEVELS, Layout
from whyserve.model.input_spec import InputSpec
from whyserve.model.rows import Arrays, Row
from whyserve.model.spec import ModelSpec

# In levels of 0 to 255: far above the rounding of float32, far below half a level.
EXACT = 0.02


def with_pictures(spec: ModelSpec, arrays: Arrays, rows: Sequence[Row]) -> tuple[list[Row] | None, tuple[str, ...]]:
    """The rows with a PNG for each image, and notes. None: no image can be sent as one.

    arrays: the same rows by input. A note names each input whose values are no levels of an 8-bit picture.
    """
    pictures: dict[str, list[str]] = {}
    notes = []
    for item in spec.inputs:
        if (layout := Layout.of(item)) is None:
            continue
        levels = _levels(item, layout, arrays[item.name])
        if levels is None:
            notes.append(
                f'input "{item.name}": `expected` was compared with requests of numbers, not of pictures, because the'
                " values of the background are no levels of 8-bit pictures under its range; check ranges"
            )
            continue
        pictures[item.name] = [_png(each) for each in levels]
    if not pictures:
        return None, tuple(notes)
    made = [{**row, **{name: each[number] for name, each in pictures.items()}} for number, row in enumerate(rows)]
    return list(made), tuple(notes)


def _levels(item: InputSpec, layout: Layout, array: np.ndarray) -> np.ndarray | None:
    """(rows, H, W) or (rows, H, W, 3) of 0 to 255; None if a value is between two levels or outside of them."""
    black, white = item.black_and_white(LEVELS)
    exact = (array.astype(np.float64) - black) / (white - black) * 255
    levels: np.ndarray = np.rint(exact)
    if np.abs(exact - levels).max() > EXACT or levels.min() < 0 or levels.max() > 255:
        return None
    if layout.channels is not None:
        levels = np.moveaxis(levels, 1 + layout.channels, -1)
        levels = levels[..., 0] if layout.mode == "L" else levels
    return levels.astype(np.uint8)


def _png(levels: Any) -> str:
    file = io.BytesIO()
    Image.fromarray(levels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()
