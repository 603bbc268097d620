"""A text, each of its tokens on the colour of what it speaks for."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from whyserve.explain.pictures.elements import clean
from whyserve.explain.pictures.panels import FILL, INK, PAPER, rgb

# Letters of one width, so that places can be counted in them.
FONT, SIZE, COLUMNS = ["DejaVu Sans Mono", "monospace"], 9.5, 80
# Of the colour at its strongest: the letters stay readable on it.
STRENGTH = 0.5
LEGEND = (("speaks for it", 1.0), ("speaks against", -1.0))

Line = list[tuple[int, str, float]]
"""Where a token begins, in letters; the token; and its share."""


def is_text(shares: Any) -> bool:
    return isinstance(shares, list) and bool(shares) and isinstance(shares[0], Mapping)


def lines_of(tokens: Sequence[Mapping[str, Any]]) -> list[Line]:
    """Tokens as they fit the width, line by line; last, what the colours mean."""
    largest = max((abs(token["value"]) for token in tokens), default=0.0) or 1.0
    lines: list[Line] = [[]]
    at = 0
    for token in tokens:
        text = clean(token["token"]) or " "
        if at and at + len(text) > COLUMNS:
            lines.append([])
            at = 0
        lines[-1].append((at, text, token["value"] / largest))
        at += len(text) + 2
    return [*lines, [(place * 18, words, share) for place, (words, share) in enumerate(LEGEND)]]


def tokens(axes: Axes, lines: Sequence[Line]) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, COLUMNS)
    axes.set_ylim(len(lines), 0)
    for number, line in enumerate(lines):
        for at, text, share in line:
            full = rgb(FILL["down" if share < 0 else "up"])
            colour = rgb(PAPER) + STRENGTH * np.sqrt(abs(share)) * (full - rgb(PAPER))
            box = {"facecolor": tuple(colour), "edgecolor": "none", "pad": 2.5}
            axes.text(at, number + 0.5, text, family=FONT, fontsize=SIZE, color=INK, va="center", bbox=box)
