"""Arrange the panels of a picture from top to bottom: title, texts, waterfall, images, series, notes."""

import textwrap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from whyserve.explain.pictures import panels, text
from whyserve.explain.pictures.elements import Bar, listed_players
from whyserve.explain.pictures.panels import Panel
from whyserve.explain.pictures.series import series_panels
from whyserve.explain.pictures.words import Scale
from whyserve.model.input_spec import InputSpec
from whyserve.model.rows import Arrays
from whyserve.model.spec import ModelSpec

# Sizes in inches.
WIDTH, LEFT, RIGHT, HEAD, FOOT, GAP = 7.2, 2.4, 0.25, 0.55, 0.2, 0.35
BAR, AXIS, LINE, TOKENS = 0.27, 0.55, 0.17, 0.28
IMAGE, LEGEND = 3.6, 0.35  # of an image, the longer side
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


def build_figure(explained: ExplainedOutput, bars: list[Bar], title: str, notes: list[str]) -> Figure:
    note_lines = [line for note in notes for line in textwrap.wrap(note, NOTE_WIDTH)]
    found = list(_panels(explained, bars))
    height = HEAD + sum(panel.height for panel in found) + LINE * len(note_lines) + FOOT
    figure = Figure((WIDTH, height), DPI, facecolor=panels.PAPER)
    _write(figure, title, note_lines, height)
    top = height - HEAD
    for panel in found:
        bottom = top - panel.below - panel.tall
        box = (panel.left / WIDTH, bottom / height, panel.width / WIDTH, panel.tall / height)
        panel.draw(figure.add_axes(box))
        top -= panel.height
    return figure


def _panels(explained: ExplainedOutput, bars: list[Bar]) -> Iterator[Panel]:
    spec, output, scale = explained.spec, explained.output, explained.scale
    drawn = [item for item in spec.inputs if item.name in output["attributions"]]
    for item in drawn:
        if item.kind == "tokens" and text.is_text(tokens := output["attributions"][item.name]):
            lines = text.lines_of(tokens)
            tall = TOKENS * len(lines)
            yield Panel(tall + GAP, 0.2, WIDTH - 0.4, 0, tall, partial(text.draw_tokens, lines=lines))
    if not is_image_alone(spec):
        longest = max((panels.wrapped(bar.label).count("\n") for bar in bars), default=0)
        tall = BAR * (1 + 0.5 * longest) * (len(bars) + 2)
        waterfall = partial(panels.waterfall, output=output, bars=bars, scale=scale)
        yield Panel(tall + AXIS, LEFT, WIDTH - LEFT - RIGHT, 0, tall, waterfall)
    for item in drawn:
        if item.image_axes():
            levels, attributions = _image(item, explained)
            tall, width = (IMAGE * side / max(attributions.shape) for side in attributions.shape)
            outlined = bool(listed_players(output, item.name))
            overlay = partial(panels.overlay, levels=levels, attributions=attributions, outlined=outlined)
            yield Panel(tall + LEGEND + GAP, 0.2, width, 0, tall, overlay)
        elif item.kind == "sequence":
            yield from series_panels(item, explained.row[item.name], output, scale, (0.9, WIDTH - 0.9 - RIGHT))
    if pairs := output.get("interactions"):
        names = explained.answer["interaction_players"]
        matrix = partial(panels.matrix, pairs=pairs, players=names, scale=scale)
        yield Panel(MATRIX_HEAD + MATRIX + GAP, LEFT, MATRIX, MATRIX_HEAD, MATRIX, matrix)


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


def _axes(item: InputSpec) -> tuple[int, int, int | None]:
    axes = item.image_axes()
    assert axes is not None, "only images are drawn as such"
    return axes


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
