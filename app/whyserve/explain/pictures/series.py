"""A series: a curve for each channel with its players shaded, and below them the attribution of each step or window."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from whyserve.explain.pictures.elements import clean, flat, listed_players
from whyserve.explain.pictures.panels import ERRORS, FILL, INK, MAX_TITLE, MUTED, RULE, SMALL, Panel, bare
from whyserve.explain.pictures.words import Scale
from whyserve.model.input_spec import InputSpec

MAX_CURVES = 12
# With more steps, bars would be thinner than lines, and slower to draw.
MAX_BARS = 300
# Heights in inches: of a single curve, one of several curves and the bars, each with a title; of the numbers below.
ALONE, CURVE, BARS, TITLE, AXIS = 1.3, 0.6, 1.4, 0.3, 0.6


class Span(NamedTuple):
    """The steps from start up to end of one channel, or of all (None), and their attribution. error: standard error."""

    start: int
    end: int
    value: float
    error: float = 0.0
    channel: str | None = None


def spans_of(item: InputSpec, output: Mapping[str, Any]) -> list[Span]:
    """The players of a series, or else its steps."""
    given, errors = output["attributions"][item.name], output.get("standard_errors", {}).get(item.name)
    if players := listed_players(output, item.name):
        pairs = zip(players, errors or [{"value": 0.0}] * len(players), strict=True)
        return [
            Span(x.get("start", 0), x.get("end", item.shape[0]), x["value"], error["value"], x.get("channel"))
            for x, error in pairs
        ]
    each = [error if isinstance(error, int | float) else 0.0 for error in errors or [0.0] * len(given)]
    return [Span(at, at + 1, sum(flat(part)), each[at]) for at, part in enumerate(given)]


def merged(spans: Sequence[Span]) -> list[Span]:
    """One span for the same steps of all channels. Its error assumes that the channels' errors are independent."""
    found: dict[tuple[int, int], Span] = {}
    for start, end, value, error, _ in spans:
        old = found.get((start, end), Span(start, end, 0.0))
        found[start, end] = Span(start, end, old.value + value, float(np.hypot(old.error, error)))
    return list(found.values())


def series_panels(
    item: InputSpec, values: Sequence[Any], output: Mapping[str, Any], scale: Scale, place: tuple[float, float]
) -> Iterator[Panel]:
    """values: one number or several of each step. place: left edge and width of the axes, in inches."""
    curves = np.array([flat(value) for value in values]).T
    spans, bars = spans_of(item, output), merged(spans_of(item, output))
    players = spans if listed_players(output, item.name) else []
    largest = max((abs(span.value) for span in players), default=0.0) or 1.0
    named = list(dict.fromkeys(span.channel for span in players if span.channel is not None))
    names = named or [item.name if len(curves) == 1 else f"channel {number}" for number in range(len(curves))]
    drawn: list[tuple[float, Callable[[Axes], None], str]] = []
    for name, curve in list(zip(names, curves, strict=True))[:MAX_CURVES]:
        here = [span for span in players if span.channel in (None, name)]
        own = [span.value for span in here if span.channel]
        draw = partial(_draw_curve, numbers=curve, spans=here, largest=largest)
        drawn.append(
            (ALONE if len(curves) == 1 else CURVE, draw, f"{name} ({scale.change(sum(own))})" if own else name)
        )
    # Players that are channels have one bar in all, which would say nothing.
    if len(bars) > 1:
        title = "adds or takes away" + (f", {scale.unit}" if scale.unit else "")
        drawn.append((BARS, partial(_draw_bars, bars=bars, scale=scale), title))
    for number, (tall, part, title) in enumerate(drawn, 1):
        last = number == len(drawn)
        finish = partial(_finish, draw=part, steps=len(values), title=title, last=last)
        yield Panel(TITLE + tall + (AXIS if last else 0), *place, TITLE, tall, finish)


def _draw_curve(axes: Axes, numbers: np.ndarray, spans: Sequence[Span], largest: float) -> None:
    steps = range(len(numbers))
    axes.plot(steps, numbers, color=INK, lw=1.5, marker="o", markersize=3 if len(steps) < MAX_BARS else 0)
    for span in spans:
        strength = 0.4 * abs(span.value) / largest
        axes.axvspan(span.start - 0.5, span.end - 0.5, color=_colour(span), alpha=strength, lw=0)


def _draw_bars(axes: Axes, bars: Sequence[Span], scale: Scale) -> None:
    middles, values = [(bar.start + bar.end - 1) / 2 for bar in bars], [bar.value for bar in bars]
    colours = [_colour(bar) for bar in bars]
    if len(bars) > MAX_BARS:
        axes.vlines(middles, 0, values, colors=colours, lw=1)
    else:
        axes.bar(middles, values, width=[max(0.72, bar.end - bar.start - 0.1) for bar in bars], color=colours)
    for middle, bar in zip(middles, bars, strict=True):
        if bar.error:
            axes.plot([middle] * 2, [bar.value - ERRORS * bar.error, bar.value + ERRORS * bar.error], color=INK, lw=1)
    axes.axhline(0, color=INK, lw=0.8)
    axes.yaxis.set_major_formatter(lambda number, _: scale.change(number))


def _finish(axes: Axes, draw: Callable[[Axes], None], steps: int, title: str, last: bool) -> None:
    draw(axes)
    bare(axes)
    axes.set_xlim(-0.6, steps - 0.4)
    axes.grid(axis="y", color=RULE, linewidth=0.6, alpha=0.6)
    axes.set_title(clean(title, MAX_TITLE), loc="left", color=MUTED, fontsize=SMALL)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if last:
        axes.set_xlabel("step, counted from 0", color=MUTED, fontsize=SMALL)
    else:
        axes.set_xticks([])


def _colour(span: Span) -> str:
    return FILL["down" if span.value < 0 else "up"]
