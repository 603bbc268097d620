"""The parts of a picture, each drawn on matplotlib axes: a waterfall, an image with its shares, a series with bars."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from whyserve.explain.pictures.elements import Line, flat
from whyserve.explain.pictures.words import Scale

# Colours that colour-blind people can tell apart (Okabe & Ito), as on the page.
INK, MUTED, RULE, PAPER = "#1b1f24", "#59636e", "#c8ced5", "#ffffff"
FILL = {"up": "#c85200", "down": "#0069a8", "rest": "#7a8490"}
SMALL = 8.5
MOST_LINES = 3
# Beyond so many steps a bar is thinner than a line, and takes longer to draw.
MOST_BARS = 300
# Error bars are of two standard errors.
ERRORS = 2


def waterfall(axes: Axes, output: Mapping[str, Any], found: Sequence[Line], scale: Scale) -> None:
    """The average on top, a bar a step, the prediction at the foot."""
    _bare(axes)
    labels = ["average", *(step.label for step in found), "prediction"]
    ends = [output["base_value"], output["value"]]
    reached = [*ends, *(step.end for step in found)]
    low, high = min(reached), max(reached)
    pad = 0.16 * ((high - low) or abs(high) or 1.0)
    axes.set_xlim(low - pad, high + pad)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_yticks(range(len(labels)), labels)
    axes.xaxis.set_major_formatter(lambda number, _: scale.axis(number))
    axes.set_xlabel(_first(scale.unit), color=MUTED, fontsize=SMALL)
    axes.grid(axis="x", color=RULE, linewidth=0.6, alpha=0.6)
    axes.axvline(output["base_value"], color=MUTED, linewidth=0.8, linestyle=(0, (3, 3)))
    for place, step in enumerate(found, 1):
        axes.barh(place, step.end - step.start, left=step.start, height=0.68, color=FILL[step.kind])
        if step.error:
            axes.plot([step.end - ERRORS * step.error, step.end + ERRORS * step.error], [place] * 2, color=INK, lw=1.2)
        _beside(axes, step.end, place, scale.change(step.end - step.start), step.end >= step.start)
    for at, place in zip(ends, (0, len(labels) - 1), strict=True):
        axes.plot([at], [place], marker="o", markersize=6, color=INK)
        _beside(axes, at, place, scale.value(at), at - low <= 0.6 * (high - low), bold=True)


def _beside(axes: Axes, x: float, y: float, text: str, right: bool, *, bold: bool = False) -> None:
    axes.annotate(
        text, (x, y), xytext=(7 if right else -7, 0), textcoords="offset points", va="center",
        ha="left" if right else "right", color=INK, fontsize=SMALL, fontweight="bold" if bold else "normal",
    )  # fmt: skip


def overlay(axes: Axes, levels: np.ndarray, shares: np.ndarray) -> None:
    """levels: (H, W) or (H, W, 3) of 0 to 1. shares: (H, W), laid over it by colour and strength."""
    paper, ink = rgb(PAPER), rgb(INK)
    # The picture itself steps back, so that the shares stand out on it.
    seen = levels if levels.ndim == 3 else paper + 0.62 * levels[..., None] * (ink - paper)
    strength = np.sqrt(np.abs(shares) / (np.abs(shares).max() or 1.0))[..., None] * 0.84
    tint = np.where(shares[..., None] < 0, rgb(FILL["down"]), rgb(FILL["up"]))
    axes.imshow(np.clip(seen + strength * (tint - seen), 0, 1), interpolation="nearest", aspect="equal")
    axes.set_xticks([])
    axes.set_yticks([])
    for edge in axes.spines.values():
        edge.set_color(RULE)
    for x, kind, words in ((0.0, "up", "speaks for it"), (0.5, "down", "speaks against")):
        patch = Rectangle((x, -0.085), 0.04, 0.05, transform=axes.transAxes, clip_on=False, color=FILL[kind], lw=0)
        axes.add_patch(patch)
        axes.text(x + 0.06, -0.06, words, transform=axes.transAxes, va="center", color=INK, fontsize=SMALL)


def series(
    top: Axes, bottom: Axes, *, name: str, values: list[Any], shares: list[Any], errors: Any, scale: Scale
) -> None:
    """The steps as they came, and under each what it adds or takes away. errors: standard errors, or None."""
    places = range(len(values))
    lines = np.array([flat(value)[:MOST_LINES] for value in values])
    for number, line in enumerate(lines.T):
        top.plot(places, line, color=(INK, FILL["rest"], MUTED)[number], lw=1.5, marker="o", markersize=3)
    sums = [sum(flat(share)) for share in shares]
    colours = [FILL["down" if share < 0 else "up"] for share in sums]
    if len(sums) > MOST_BARS:
        bottom.vlines(places, 0, sums, colors=colours, lw=1)
    else:
        bottom.bar(places, sums, width=0.72, color=colours)
    for place, (share, error) in enumerate(zip(sums, errors or [], strict=bool(errors))):
        if isinstance(error, int | float) and error:
            bottom.plot([place] * 2, [share - ERRORS * error, share + ERRORS * error], color=INK, lw=1)
    bottom.axhline(0, color=INK, lw=0.8)
    bottom.yaxis.set_major_formatter(lambda number, _: scale.change(number))
    for axes, words in ((top, name), (bottom, "adds or takes away" + (f", {scale.unit}" if scale.unit else ""))):
        _bare(axes)
        axes.set_xlim(-0.6, len(values) - 0.4)
        axes.grid(axis="y", color=RULE, linewidth=0.6, alpha=0.6)
        axes.set_title(_first(words), loc="left", color=MUTED, fontsize=SMALL)
    top.set_xticks([])
    bottom.set_xlabel("step, counted from 0", color=MUTED, fontsize=SMALL)
    bottom.xaxis.set_major_locator(MaxNLocator(integer=True))


def _bare(axes: Axes) -> None:
    for edge in axes.spines.values():
        edge.set_visible(False)
    axes.tick_params(length=0, labelsize=SMALL, labelcolor=INK)
    axes.set_axisbelow(True)


def _first(words: str) -> str:
    return words if len(words) <= 60 else words[:59] + "…"


def rgb(colour: str) -> np.ndarray:
    """(3,) of 0 to 1."""
    return np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
