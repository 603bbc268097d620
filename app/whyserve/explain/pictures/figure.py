"""Arrange the panels of a picture from top to bottom: title, texts, waterfall, images, series, notes."""

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from whyserve.explain.pictures import panels, text
from whyserve.explain.pictures.elements import Bar, listed_players
from whyserve.explain.pictures.words import Scale
from whyserve.model.input_spec import InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# Sizes in inches.
WIDTH, LEFT, RIGHT, HEAD, FOOT, GAP = 7.2, 2.4, 0.25, 0.55, 0.2, 0.35
BAR, AXIS, LINE, TOKENS = 0.27, 0.55, 0.17, 0.28
IMAGE, LEGEND, SERIES = 3.6, 0.35, 3.9
MATRIX, MATRIX_HEAD = 4.3, 1.7
DPI = 100
# The longest title, in characters, at full size. A longer title has a smaller font.
LONGEST_TITLE = 64
NOTE_WIDTH = 104  # characters


@dataclass(frozen=True, slots=True)
class ExplainedOutput:
    """The data of a picture.

    row: the instance as in a request. arrays: the same row as the network's inputs, (1, *shape) each.
    answer: the response. output: the explained output in it.
    """

    spec: ModelSpec
    row: Mapping[str, Any]
    arrays: Arrays
    answer: Mapping[str, Any]
    output: Mapping[str, Any]
    scale: Scale


def is_image_alone(spec: ModelSpec) -> bool:
    return len(spec.inputs) == 1 and spec.inputs[0].image_axes() is not None


class _Page:
    """Places axes from top to bottom. Lengths are in inches, measured from the top left corner of the next panel."""

    def __init__(self, figure: Figure, height: float) -> None:
        self._figure, self._height, self._top = figure, height, height - HEAD

    def axes(self, left: float, below: float, width: float, height: float) -> Axes:
        bottom = self._top - below - height
        return self._figure.add_axes((left / WIDTH, bottom / self._height, width / WIDTH, height / self._height))

    def advance(self, height: float) -> None:
        self._top -= height


def build_figure(explained: ExplainedOutput, bars: list[Bar], title: str, notes: list[str]) -> Figure:
    spec, attributions = explained.spec, explained.output["attributions"]
    drawn = [item for item in spec.inputs if item.name in attributions]
    images = [item for item in drawn if item.image_axes()]
    sequences = [item for item in drawn if item.kind == "sequence"]
    texts = [
        text.lines_of(attributions[item.name])
        for item in spec.inputs
        if item.kind == "tokens" and text.is_text(attributions.get(item.name))
    ]
    note_lines = [line for note in notes for line in textwrap.wrap(note, NOTE_WIDTH)]
    bars_height = 0.0 if is_image_alone(spec) else BAR * (len(bars) + 2)
    text_heights = [TOKENS * len(lines) + GAP for lines in texts]
    image_heights = [_image_size(item)[1] + LEGEND + GAP for item in images]
    pairs = explained.output.get("interactions")
    panel_heights = [*([bars_height + AXIS] if bars_height else []), *image_heights, *(SERIES for _ in sequences)]
    matrix_height = MATRIX_HEAD + MATRIX + GAP if pairs else 0.0
    height = HEAD + sum(text_heights) + sum(panel_heights) + matrix_height + LINE * len(note_lines) + FOOT

    figure = Figure((WIDTH, height), DPI, facecolor=panels.PAPER)
    _write(figure, title, note_lines, height)
    page = _Page(figure, height)
    for lines, text_height in zip(texts, text_heights, strict=True):
        text.draw_tokens(page.axes(0.2, 0, WIDTH - 0.4, text_height - GAP), lines)
        page.advance(text_height)
    if bars_height:
        panels.waterfall(page.axes(LEFT, 0, WIDTH - LEFT - RIGHT, bars_height), explained.output, bars, explained.scale)
        page.advance(bars_height + AXIS)
    for item, image_height in zip(images, image_heights, strict=True):
        outlined = bool(listed_players(explained.output, item.name))
        panels.overlay(page.axes(0.2, 0, *_image_size(item)), *_image(item, explained), outlined=outlined)
        page.advance(image_height)
    for item in sequences:
        _draw_series(page, item, explained)
        page.advance(SERIES)
    if pairs:
        axes, names = page.axes(LEFT, MATRIX_HEAD, MATRIX, MATRIX), explained.answer["interaction_players"]
        panels.matrix(axes, pairs, names, explained.scale)
    return figure


def _write(figure: Figure, title: str, note_lines: list[str], height: float) -> None:
    """Write the title at the top and the notes at the bottom."""
    left = 0.14 / WIDTH
    size = 11.5 * min(1.0, LONGEST_TITLE / len(title))
    figure.text(left, 1 - 0.3 / height, title, fontsize=size, fontweight="bold", color=panels.INK, va="center")
    for number, line in enumerate(note_lines):
        y = (FOOT + LINE * (len(note_lines) - 1 - number)) / height
        figure.text(left, y, line, fontsize=7.5, color=panels.MUTED)


def _player_map(item: InputSpec, players: list[Mapping[str, Any]], answer: Mapping[str, Any]) -> np.ndarray:
    """(H, W): at each pixel the attribution of its player, summed over the channels."""
    height, width, _ = _axes(item)
    found = np.zeros((height, width))
    mask = next(iter(answer.get("explanations", [{}]))).get("masks", {}).get(item.name)
    labels, counts = zip(*mask["runs"], strict=True) if mask else ((), ())
    regions = np.repeat(labels, counts).reshape(height, width) if mask else np.zeros((height, width))
    for player in players:
        if "box" in player:
            top, left, bottom, right = player["box"]
            found[top:bottom, left:right] += player["value"]
        else:
            found[regions == player.get("label", 0)] += player["value"]
    return found


def _draw_series(page: _Page, item: InputSpec, explained: ExplainedOutput) -> None:
    width = WIDTH - 0.9 - RIGHT
    listed = listed_players(explained.output, item.name)
    panels.series(
        page.axes(0.9, 0.25, width, 1.3),
        page.axes(0.9, 1.95, width, 1.4),
        name=item.name,
        values=explained.row[item.name],
        attributions=[] if listed else explained.output["attributions"][item.name],
        errors=None if listed else explained.output.get("standard_errors", {}).get(item.name),
        windows=[(x.get("start", 0), x.get("end", item.shape[0]), x["value"]) for x in listed],
        scale=explained.scale,
    )


def _axes(item: InputSpec) -> tuple[int, int, int | None]:
    axes = item.image_axes()
    assert axes is not None, "only images are drawn as such"
    return axes


def _image_size(item: InputSpec) -> tuple[float, float]:
    """Width and height in inches; the larger is IMAGE."""
    rows, columns, _ = _axes(item)
    return IMAGE * min(1.0, columns / rows), IMAGE * min(1.0, rows / columns)


def _image(item: InputSpec, explained: ExplainedOutput) -> tuple[np.ndarray, np.ndarray]:
    """The image, (H, W) or (H, W, 3) of 0 to 1, and the attributions summed over the channels, (H, W)."""
    axis = _axes(item)[2]
    pixels = explained.arrays[item.name][0].astype(np.float64)
    if listed := listed_players(explained.output, item.name):
        attributions = _player_map(item, listed, explained.answer)
    else:
        attributions = np.array(explained.output["attributions"][item.name])
        attributions = attributions if axis is None else attributions.sum(axis)
    low, high = item.black_and_white((min(0.0, float(pixels.min())), float(pixels.max())))
    levels = np.clip((pixels - low) / np.where(high > low, high - low, 1.0), 0, 1)
    if axis is None:
        return levels, attributions
    levels = np.moveaxis(levels, axis, -1)
    return levels[..., :3] if levels.shape[-1] >= 3 else levels[..., 0], attributions
