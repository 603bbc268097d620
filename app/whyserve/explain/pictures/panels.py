"""The panels of a picture, each on matplotlib axes: a waterfall, an image with attributions, a series with bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from whyserve.explain.pictures.elements import Bar, clean, flat
from whyserve.explain.pictures.words import Scale

# Colours that colour-blind people can distinguish (Okabe & Ito 2008), as on the web page.
INK, MUTED, RULE, PAPER = "#1b1f24", "#59636e", "#c8ced5", "#ffffff"
FILL = {"up": "#c85200", "down": "#0069a8", "rest": "#7a8490"}
SMALL = 8.5  # font size
MAX_CURVES = 3  # values per step that are plotted
# With more steps, bars would be thinner than lines, and slower to draw.
MAX_BARS = 300
# The length of an error bar, in standard errors.
ERRORS = 2
MAX_TITLE = 60  # characters
MAX_NUMBERED = 6  # players of a matrix with numbers


def waterfall(axes: Axes, output: Mapping[str, Any], bars: Sequence[Bar], scale: Scale) -> None:
    """The average at the top, then the bars, and the prediction at the bottom."""
    _bare(axes)
    labels = ["average", *(bar.label for bar in bars), "prediction"]
    ends = [output["base_value"], output["value"]]
    extent = [*ends, *(bar.end for bar in bars)]
    low, high = min(extent), max(extent)
    pad = 0.16 * ((high - low) or abs(high) or 1.0)
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels)
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
    paper, ink = rgb(PAPER), rgb(INK)
    # A grey image has less contrast than usual, so that the colours of the attributions stand out.
    image = levels if levels.ndim == 3 else paper + 0.62 * levels[..., None] * (ink - paper)
    strength = np.sqrt(np.abs(attributions) / (np.abs(attributions).max() or 1.0))[..., None] * 0.84
    tint = np.where(attributions[..., None] < 0, rgb(FILL["down"]), rgb(FILL["up"]))
    axes.imshow(np.clip(image + strength * (tint - image), 0, 1), interpolation="nearest", aspect="equal")
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


def series(
    top: Axes,
    bottom: Axes,
    *,
    name: str,
    values: list[Any],
    attributions: list[Any],
    errors: Any,
    scale: Scale,
    windows: Sequence[tuple[int, int, float]] = (),
) -> None:
    """Draw the values of a series at the top, and the attribution of each step below.

    errors: standard errors. windows: (start, end, attribution) of each window, if windows are the players.
    """
    steps = range(len(values))
    curves = np.array([flat(value)[:MAX_CURVES] for value in values])
    for number, curve in enumerate(curves.T):
        top.plot(steps, curve, color=(INK, FILL["rest"], MUTED)[number], lw=1.5, marker="o", markersize=3)
    _windows(top, bottom, windows)
    sums = [sum(flat(attribution)) for attribution in attributions]
    colours = [FILL["down" if total < 0 else "up"] for total in sums]
    if len(sums) > MAX_BARS:
        bottom.vlines(range(len(sums)), 0, sums, colors=colours, lw=1)
    else:
        bottom.bar(range(len(sums)), sums, width=0.72, color=colours)
    for step, (total, error) in enumerate(zip(sums, errors or [], strict=bool(errors))):
        if isinstance(error, int | float) and error:
            bottom.plot([step] * 2, [total - ERRORS * error, total + ERRORS * error], color=INK, lw=1)
    bottom.axhline(0, color=INK, lw=0.8)
    bottom.yaxis.set_major_formatter(lambda number, _: scale.change(number))
    for axes, words in ((top, name), (bottom, "adds or takes away" + (f", {scale.unit}" if scale.unit else ""))):
        _bare(axes)
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.grid(axis="y", color=RULE, linewidth=0.6, alpha=0.6)
        axes.set_title(clean(words, MAX_TITLE), loc="left", color=MUTED, fontsize=SMALL)
    top.set_xticks([])
    bottom.set_xlabel("step, counted from 0", color=MUTED, fontsize=SMALL)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))


def matrix(axes: Axes, pairs: Sequence[Sequence[float]], players: Sequence[str], scale: Scale) -> None:
    """Draw interactions, (players, players): the colour is the sign, its strength the size."""
    values = np.array(pairs)
    strength = np.sqrt(np.abs(values) / (np.abs(values).max() or 1.0))[..., None] * 0.84
    tint = np.where(values[..., None] < 0, rgb(FILL["down"]), rgb(FILL["up"]))
    axes.imshow(rgb(PAPER) + strength * (tint - rgb(PAPER)), interpolation="nearest", aspect="equal")
    names = [clean(player) for player in players]
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    axes.xaxis.tick_top()
    _bare(axes)
    if len(names) <= MAX_NUMBERED:
        for (y, x), value in np.ndenumerate(values):
            axes.text(x, y, scale.change(value), ha="center", va="center", color=INK, fontsize=SMALL - 1)
    axes.set_xlabel("main effects on the diagonal, halves of interactions beside it", color=MUTED, fontsize=SMALL)


def _windows(top: Axes, bottom: Axes, windows: Sequence[tuple[int, int, float]]) -> None:
    """Shade each window under the curve, and draw a bar of its width below. Channels of a window are added up."""
    totals: dict[tuple[int, int], float] = {}
    for start, end, value in windows:
        totals[start, end] = totals.get((start, end), 0.0) + value
    largest = max(map(abs, totals.values()), default=0.0) or 1.0
    for (start, end), value in totals.items():
        colour = FILL["down" if value < 0 else "up"]
        top.axvspan(start - 0.5, end - 0.5, color=colour, alpha=0.4 * abs(value) / largest, lw=0)
        bottom.bar((start + end - 1) / 2, value, width=end - start - 0.1, color=colour)


def _bare(axes: Axes) -> None:
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    axes.set_axisbelow(True)


def rgb(colour: str) -> np.ndarray:
    """#rrggbb as (3,) of 0 to 1."""
    return np.array([int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)])
