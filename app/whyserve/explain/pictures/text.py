"""Draw a text: the background colour of each token shows its attribution."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whyserve.explain.pictures.elements import clean
from whyserve.explain.pictures.panels import INK, tinted

# A monospaced font, so that positions can be counted in characters.
FONT, SIZE, COLUMNS = ["DejaVu Sans Mono", "monospace"], 9.5, 80
# The strength of the colour of the largest attribution: the text stays readable.
STRENGTH = 0.5
LEGEND = (("speaks for it", 1.0), ("speaks against", -1.0))

TextLine = list[tuple[int, str, float]]
"""For each token: its first column, its text, and its attribution relative to the largest."""


def is_text(attributions: Any) -> bool:
    """Whether the attributions of an input are a list of tokens, words or sentences."""
    return isinstance(attributions, list) and bool(attributions) and isinstance(attributions[0], Mapping)


def lines_of(tokens: Sequence[Mapping[str, Any]]) -> list[TextLine]:
    """The tokens in lines of at most COLUMNS characters, then a line that explains the colours."""
    largest = max((abs(token["value"]) for token in tokens), default=0.0) or 1.0
    lines: list[TextLine] = [[]]
    column = 0
    for token in tokens:
        text = clean(token.get("token", token.get("player", "")), COLUMNS) or " "
        if column and column + len(text) > COLUMNS:
            lines.append([])
            column = 0
        lines[-1].append((column, text, token["value"] / largest))
        column += len(text) + 2
    return [*lines, [(number * 18, words, share) for number, (words, share) in enumerate(LEGEND)]]


def draw_tokens(axes: Axes, lines: Sequence[TextLine]) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(len(lines), 0)
    placed = [(number + 0.5, *token) for number, line in enumerate(lines) for token in line]
    colours = tinted(np.array([share for *_, share in placed]), strength=STRENGTH)
    for (y, column, text, _), colour in zip(placed, colours, strict=True):
        box = {"facecolor": tuple(colour), "edgecolor": "none", "pad": 2.5}
        axes.text(column, y, text, family=FONT, fontsize=SIZE, color=INK, va="center", bbox=box)
