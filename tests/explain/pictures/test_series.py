"""A series of several sensors: small multiples with their names, shaded windows, and bars of all sensors together."""

import io
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgba

from tests.explain.pictures.test_draw import explained, job_of, picture, spec_of, texts
from whyserve.explain.pictures.figure import ExplainedOutput, build_figure
from whyserve.explain.pictures.panels import FILL
from whyserve.explain.pictures.series import MAX_CURVES
from whyserve.explain.pictures.words import Scale
from whyserve.model.input_spec import InputSpec

SENSORS = ["pressure", "temperature", "vibration"]
STEPS = 6
ITEM = InputSpec(name="s", kind="sequence", shape=(STEPS, len(SENSORS)))
VALUES = np.random.default_rng(0).normal(size=(1, STEPS, len(SENSORS))).astype(np.float32)


def players(windows, channels):
    """One player for each window and channel, with a value of its own."""
    ends = np.linspace(0, STEPS, windows + 1).astype(int)
    spans = [{"start": int(start), "end": int(end)} for start, end in pairwise(ends)]
    spans = [{}] if windows == 1 else spans
    both = [{**span, **({"channel": name} if name else {})} for span in spans for name in channels]
    return [{"player": f"p{at}", "value": (-1) ** at * (at + 1) / 10, **each} for at, each in enumerate(both)]


def figure_of(output, item=ITEM, values=VALUES):
    spec = spec_of(item)
    given = ExplainedOutput(spec, {item.name: values[0].tolist()}, {item.name: values}, {}, output, Scale(False, ""))
    return build_figure(given, [], "title", [])


def title_of(axes):
    return axes.get_title(loc="left")


def shades(axes):
    """Of each shaded span: its first step, the step after its last, and whether it raises."""
    found = []
    for patch in axes.patches:
        start, width = patch.get_x() + 0.5, patch.get_width()
        found.append((round(start), round(start + width), patch.get_facecolor()[:3] == to_rgba(FILL["up"])[:3]))
    return found


def test_each_sensor_is_a_small_picture_with_its_name_and_its_own_values():
    shares = players(1, SENSORS)
    curves = figure_of(explained({"s": shares})).axes[1:]
    assert [title_of(axes) for axes in curves] == ["pressure (+0.1)", "temperature (−0.2)", "vibration (+0.3)"]
    for number, axes in enumerate(curves):
        np.testing.assert_allclose(axes.lines[0].get_ydata(), VALUES[0, :, number])
        assert shades(axes) == [(0, STEPS, shares[number]["value"] > 0)]
    tops = [axes.get_position().y0 for axes in curves]
    assert tops == sorted(tops, reverse=True)


def test_windows_of_each_sensor_are_shaded_in_its_own_picture():
    shares = players(3, SENSORS)
    *curves, bars = figure_of(explained({"s": shares})).axes[1:]
    for number, axes in enumerate(curves):
        own = [share for share in shares if share["channel"] == SENSORS[number]]
        assert shades(axes) == [(share["start"], share["end"], share["value"] > 0) for share in own]
        # The strongest shade is that of the largest share of all sensors.
        largest = max(abs(share["value"]) for share in shares)
        alphas = [patch.get_alpha() for patch in axes.patches]
        assert alphas == pytest.approx([0.4 * abs(share["value"]) / largest for share in own])
    # One bar per window: all sensors together.
    totals = [sum(share["value"] for share in shares if share["start"] == start) for start in (0, 2, 4)]
    assert [patch.get_height() for patch in bars.patches] == pytest.approx(totals)


def test_windows_of_all_sensors_are_shaded_in_every_picture():
    shares = players(2, [None])
    *curves, bars = figure_of(explained({"s": shares})).axes[1:]
    assert [title_of(axes) for axes in curves] == ["channel 0", "channel 1", "channel 2"]
    assert all(len(shades(axes)) == 2 for axes in curves)
    assert len(bars.patches) == 2


def test_the_standard_errors_of_players_are_drawn():
    shares = players(3, SENSORS)
    errors = [{"value": 0.03} for _ in shares]
    bars = figure_of(explained({"s": shares}, standard_errors={"s": errors})).axes[-1]
    lines = [line.get_ydata() for line in bars.lines if len(set(line.get_ydata())) == 2]
    assert [ends[1] - ends[0] for ends in lines] == pytest.approx([4 * 0.03 * 3**0.5] * 3)


def test_elements_have_a_bar_for_each_step():
    shares = np.random.default_rng(1).normal(size=(STEPS, len(SENSORS)))
    *curves, bars = figure_of(explained({"s": shares.tolist()})).axes[1:]
    assert len(curves) == len(SENSORS)
    assert not any(axes.patches for axes in curves)
    assert [patch.get_height() for patch in bars.patches] == pytest.approx(shares.sum(1).tolist())


@pytest.mark.parametrize("count", [1, 8, 40])
def test_nothing_is_outside_the_picture_or_over_another_part(count):
    item = InputSpec(name="s", kind="sequence", shape=(STEPS, count) if count > 1 else (STEPS,))
    values = np.random.default_rng(2).normal(1e5, 1e4, (1, *item.shape)).astype(np.float32)
    names = [f"sensor number {number} of the pump" for number in range(count)]
    shares = players(3, names if count > 1 else [None])
    figure = figure_of(explained({"s": shares}), item, values)
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(io.BytesIO())
    renderer = canvas.get_renderer()
    assert len(figure.axes) == 2 + min(count, MAX_CURVES)
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    for box in boxes:
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width
        assert box.y0 >= 0
    for upper, lower in pairwise(boxes[1:]):
        assert lower.y1 <= upper.y0 + 1


def test_the_names_of_sensors_are_texts_of_the_svg():
    spec = spec_of(ITEM)
    shown = texts(picture(job_of(spec, {"s": VALUES}, explained({"s": players(1, SENSORS)})), spec))
    assert {"pressure (+0.1)", "temperature (−0.2)", "vibration (+0.3)", "step, counted from 0"} <= set(shown)
