"""The parts of a picture, one under the other: title, waterfall, images, series, and how it was explained."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from whyserve.explain.pictures import panels, text
from whyserve.explain.pictures.elements import Line
from whyserve.explain.pictures.words import Scale
from whyserve.model.input_spec import InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# Inches; of a hundred pixels each.
WIDTH, LEFT, RIGHT, HEAD, FOOT, GAP = 7.2, 2.4, 0.25, 0.55, 0.2, 0.35
BAR, AXIS, LINE, TOKENS = 0.27, 0.55, 0.17, 0.28
DPI = 100
# Signs of a title that fit the width; a longer one is smaller.
LONGEST_TITLE = 64
# Numbers of an image that is no (H, W), (H, W, C) or (C, H, W) are shown as no picture.
CHANNELS = (1, 2, 3, 4)


@dataclass(frozen=True, slots=True)
class Pictured:
    """What a picture is of: a row as people write it and as arrays, and one output of its answer."""

    spec: ModelSpec
    row: Mapping[str, Any]
    arrays: Arrays
    answer: Mapping[str, Any]
    output: Mapping[str, Any]
    scale: Scale


def is_image_alone(spec: ModelSpec) -> bool:
    return len(spec.inputs) == 1 and spec.inputs[0].kind == "image" and _layout(spec.inputs[0]) is not None


def figure_of(of: Pictured, found: list[Line], title: str, said: list[str]) -> Figure:
    images = [item for item in of.spec.inputs if item.kind == "image" and _layout(item) is not None]
    rows = [item for item in of.spec.inputs if item.kind == "sequence"]
    shares = of.output["attributions"]
    texts = [text.lines_of(shares[item.name]) for item in of.spec.inputs if text.is_text(shares.get(item.name))]
    bars = 0.0 if is_image_alone(of.spec) else BAR * (len(found) + 2)
    written = [TOKENS * len(lines) + GAP for lines in texts]
    lines = [line for each in said for line in textwrap.wrap(each, 104)]
    heights = [*([bars + AXIS] if bars else []), *(_height(item) + GAP for item in images), *(3.9 for _ in rows)]
    height = HEAD + sum(written) + sum(heights) + LINE * len(lines) + FOOT
    figure = Figure((WIDTH, height), DPI, facecolor=panels.PAPER)
    size = 11.5 * min(1.0, LONGEST_TITLE / len(title))
    figure.text(0.14 / WIDTH, 1 - 0.3 / height, title, fontsize=size, fontweight="bold", color=panels.INK, va="center")
    for number, line in enumerate(lines):
        y = (FOOT + LINE * (len(lines) - 1 - number)) / height
        figure.text(0.14 / WIDTH, y, line, fontsize=7.5, color=panels.MUTED)

    top = height - HEAD

    def axes(left: float, below: float, wide: float, high: float) -> Any:
        return figure.add_axes((left / WIDTH, (top - below - high) / height, wide / WIDTH, high / height))

    for each, high in zip(texts, written, strict=True):
        text.tokens(axes(0.2, 0, WIDTH - 0.4, high - GAP), each)
        top -= high
    if bars:
        panels.waterfall(axes(LEFT, 0, WIDTH - LEFT - RIGHT, bars), of.output, found, of.scale)
        top -= bars + AXIS
    for item in images:
        high = _height(item) - 0.35
        panels.overlay(axes(0.2, 0, _wide(item), high), *_seen(item, of))
        top -= _height(item) + GAP
    for item in rows:
        wide = WIDTH - 0.9 - RIGHT
        pair = axes(0.9, 0.25, wide, 1.3), axes(0.9, 1.95, wide, 1.4)
        errors = of.output.get("standard_errors", {}).get(item.name)
        panels.series(
            *pair, name=item.name, values=of.row[item.name], shares=shares[item.name], errors=errors, scale=of.scale
        )
        top -= 3.9
    return figure


def _layout(item: InputSpec) -> tuple[int, int, int | None] | None:
    """Height, width and the axis of the channels."""
    match item.shape:
        case (high, wide):
            return high, wide, None
        case (high, wide, channels) if channels in CHANNELS:
            return high, wide, 2
        case (channels, high, wide) if channels in CHANNELS:
            return high, wide, 0
    return None


def _wide(item: InputSpec) -> float:
    layout = _layout(item)
    assert layout is not None
    high, wide, _ = layout
    return 3.6 * min(1.0, wide / high)


def _height(item: InputSpec) -> float:
    layout = _layout(item)
    assert layout is not None
    high, wide, _ = layout
    return 3.6 * min(1.0, high / wide) + 0.35


def _seen(item: InputSpec, of: Pictured) -> tuple[np.ndarray, np.ndarray]:
    """Levels of 0 to 1, (H, W) or (H, W, 3), and each pixel's share, (H, W), over its channels together."""
    layout = _layout(item)
    assert layout is not None
    axis = layout[2]
    pixels, shares = of.arrays[item.name][0].astype(np.float64), np.array(of.output["attributions"][item.name])
    low, high = item.range or (min(0.0, float(pixels.min())), float(pixels.max()))
    levels = np.clip((pixels - low) / ((high - low) or 1.0), 0, 1)
    if axis is None:
        return levels, shares
    levels = np.moveaxis(levels, axis, -1)
    return levels[..., :3] if levels.shape[-1] >= 3 else levels[..., 0], shares.sum(axis)
