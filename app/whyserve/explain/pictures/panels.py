"""The panels of a picture, each on its matplotlib axes: a waterfall, an image with attributions, a matrix."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from whyserve.explain.pictures.elements import Bar, clean
from whyserve.explain.pictures.words import Scale

# Colours that colour-blind people can distinguish (Okabe & Ito 2008), as on the web page.
INK, MUTED, RULE, PAPER = "#1b1f24", "#59636e", "#c8ced5", "#ffffff"
FILL = {"up": "#c85200", "down": "#0069a8", "rest": "#7a8490"}
SMALL = 8.5  # font size
# The length of an error bar, in standard errors.
ERRORS = 2
MAX_TITLE = 60  # characters
MAX_LINE = 34  # characters of a line of a label
# Of red, green and blue, as on the web page.
LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
MAX_NUMBERED = 6  # players of a matrix with numbers


class Panel(NamedTuple):
    """A part of a picture, in inches. height: with the space around its axes. below: from its top to its axes."""

    height: float
    left: float
    width: float
    below: float
    tall: float
    draw: Callable[[Axes], None]


def waterfall(axes: Axes, output: Mapping[str, Any], bars: Sequence[Bar], scale: Scale) -> None:
    """The average at the top, then the bars, and the prediction at the bottom."""
    bare(axes)
    labels = ["average", *(bar.label for bar in bars), "prediction"]
    ends = [output["base_value"], output["value"]]
    extent = [*ends, *(bar.end for bar in bars)]
    low, high = min(extent), max(extent)
    pad = 0.16 * ((high - low) or abs(high) or 1.0)
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), [wrapped(label) for label in labels], linespacing=1.0)
    axes.xaxis.set_major_formatter(lambda number, _: scale.axis(number))
    axes.set_xlabel(clean(scale.unit, MAX_TITLE), color=MUTED, fontsize=SMALL)
    axes.grid(axis="x", color=RULE, linewidth=0.6, alpha=0.6)
    axes.axvline(output["base_value"], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    for y, bar in enumerate(bars, 1):
        axes.barh(y, bar.end - bar.start, left=bar.start, height=0.68, color=FILL[bar.kind])
        if bar.error:
            axes.plot([bar.end - ERRORS * bar.error, bar.end + ERRORS * bar.error], [y] * 2, color=INK, lw=1.2)
        _label(axes, bar.end, y, scale.change(bar.end - bar.start), bar.end >= bar.start)
    for x, y in zip(ends, (0, len(labels) - 1), strict=True):
        axes.plot([x], [y], marker="o", markersize=6, color=INK)
        _label(axes, x, y, scale.value(x), x - low <= 0.6 * (high - low), bold=True)


def _label(axes: Axes, x: float, y: float, text: str, right: bool, *, bold: bool = False) -> None:
    """Write text to the right or to the left of a point."""
    axes.annotate(
        text, (x, y), xytext=(7 if right else -7, 0), textcoords="offset points", va="center",
        ha="left" if right else "right", color=INK, fontsize=SMALL, fontweight="bold" if bold else "normal",
    )  # fmt: skip


def overlay(axes: Axes, levels: np.ndarray, attributions: np.ndarray, *, outlined: bool = False) -> None:
    """Draw attributions, (H, W), as colours over an image, (H, W) or (H, W, 3) of 0 to 1.

    outlined: draw a line where the attribution changes, because patches or regions are the players.
    """
    # Without colours of its own, and with less contrast, the picture lets the colours of the attributions stand out.
    grey = levels @ LUMINANCE if levels.ndim == 3 else levels
    axes.imshow(tinted(attributions, 1 - 0.62 * (1 - grey[..., None])), interpolation="nearest", aspect="equal")
    if outlined:
        height, width = attributions.shape
        rows, columns = np.nonzero(np.diff(attributions, axis=1))
        axes.vlines(columns + 0.5, rows - 0.5, rows + 0.5, color=INK, lw=0.7)
        rows, columns = np.nonzero(np.diff(attributions, axis=0))
        axes.hlines(rows + 0.5, columns - 0.5, columns + 0.5, color=INK, lw=0.7)
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    for edge in axes.spines.values():
        edge.set_color(RULE)
    for x, kind, words in ((0.0, "up", "speaks for it"), (0.5, "down", "speaks against")):
        patch = Rectangle((x, -0.085), 0.04, 0.05, transform=axes.transAxes, clip_on=False, color=FILL[kind], lw=0)
        axes.add_patch(patch)
        axes.text(x + 0.06, -0.06, words, transform=axes.transAxes, va="center", color=INK, fontsize=SMALL)


def matrix(axes: Axes, pairs: Sequence[Sequence[float]], players: Sequence[str], scale: Scale) -> None:
    """Draw interactions, (players, players): the colour is the sign, its strength the size."""
    values = np.array(pairs)
    axes.imshow(tinted(values), interpolation="nearest", aspect="equal")
    names = [wrapped(player) for player in players]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.tick_top()
    bare(axes)
    if len(names) <= MAX_NUMBERED:
        for (y, x), value in np.ndenumerate(values):
            axes.text(x, y, scale.change(value), ha="center", va="center", color=INK, fontsize=SMALL - 1)
    axes.set_xlabel("main effects on the diagonal, halves of interactions beside it", color=MUTED, fontsize=SMALL)


def wrapped(label: str) -> str:
    """The label in lines of at most MAX_LINE characters."""
    return "\n".join(textwrap.wrap(label, MAX_LINE)) or label


def bare(axes: Axes) -> None:
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    axes.set_axisbelow(True)


def tinted(values: np.ndarray, on: np.ndarray | None = None, strength: float = 0.84) -> np.ndarray:
    """Colours, (…, 3) of 0 to 1, over those of `on`, the paper by default: the sign of a value, as strong as its size.

    strength: of the largest value.
    """
    on, size = rgb(PAPER) if on is None else on, np.abs(values)
    share = strength * np.sqrt(size / (size.max() or 1.0))[..., None]
    full = np.where(values[..., None] < 0, rgb(FILL["down"]), rgb(FILL["up"]))
    return np.asarray(np.clip(on + share * (full - on), 0, 1))


def rgb(colour: str) -> np.ndarray:
    """#rrggbb as (3,) of 0 to 1."""
    return np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
