"""Draw one explained output of one row, as SVG or PNG. Explanations that are equal give equal bytes on the same day."""

import base64
import io
import json
import re
import warnings
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal
from xml.sax.saxutils import escape

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from pydantic_core import to_json

from whyserve.explain.pictures.elements import (
    Bar,
    clean,
    describe_waterfall,
    elements,
    flat,
    from_average,
    listed_players,
    waterfall_bars,
)
from whyserve.explain.pictures.figure import ExplainedOutput, build_figure, is_image_alone
from whyserve.explain.pictures.words import Scale, facts
from whyserve.jobs import ExplainJob
from whyserve.model.arrays import unpacked
from whyserve.model.rows import Arrays, as_row
from whyserve.model.spec import ModelSpec

MAX_NAME = 34  # characters of an output in the title
# Names in requests are not parsed as formulas, text in SVG stays text, and identifiers in SVG are not random.
STYLE: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "whyserve",
    "font.family": ["DejaVu Sans"],
    "axes.unicode_minus": True,
}


def draw_job(job: ExplainJob, spec: ModelSpec) -> bytes:
    """JSON with `data`, the picture in base64: of the job's only row and the only output in its drawing's answer."""
    drawing = job.drawing
    assert drawing is not None, "the job is a drawing"
    answer = json.loads(drawing.answer)
    arrays = unpacked(job.rows)
    output = answer["explanations"][0]["outputs"][0]
    explained = ExplainedOutput(
        spec, as_row(spec, arrays, 0), arrays, answer, output, Scale.of(spec.output, answer.get("scale"))
    )
    day = datetime.fromtimestamp(job.created, UTC).date()
    return to_json({"data": base64.b64encode(_draw(explained, drawing.kind, f" {day}.")).decode()})


def svg_and_words(
    spec: ModelSpec, row: Mapping[str, Any], arrays: Arrays, answer: Mapping[str, Any], output: Mapping[str, Any]
) -> tuple[str, str]:
    """The picture of one output of one row as SVG, and the same in one sentence."""
    explained = ExplainedOutput(spec, row, arrays, answer, output, Scale.of(spec.output, answer.get("scale")))
    words = _describe(explained, waterfall_bars(output, elements(spec, row, output)))
    return _draw(explained, "svg").decode(), words


def _draw(explained: ExplainedOutput, kind: Literal["svg", "png"], note: str = "") -> bytes:
    """note: follows the last line below the picture."""
    spec, output, scale = explained.spec, explained.output, explained.scale
    bars = waterfall_bars(output, elements(spec, explained.row, output))
    other = explained.answer.get("instead_of")
    instead = "" if other is None else f" instead of {clean(other, MAX_NAME)}"
    title = f"Why {spec.name} says {clean(output['output'], MAX_NAME)}{instead}: {scale.value(output['value'])}"
    *notes, last = facts(explained.answer, output, scale)
    notes.append(last + note)
    # The style also applies while the canvas draws. A character that the font lacks becomes a box, without a warning.
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = build_figure(explained, bars, title, notes)
        content = io.BytesIO()
        if kind == "png":
            canvas: Any = FigureCanvasAgg(figure)
            canvas.print_png(content, metadata={"Software": None, "Title": title})
            return content.getvalue()
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(content, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    description = " ".join([_describe(explained, bars), *notes])
    return _add_description(content.getvalue().decode(), title, description).encode()


def _describe(explained: ExplainedOutput, bars: list[Bar]) -> str:
    """The content of the picture in one sentence."""
    spec, output, scale = explained.spec, explained.output, explained.scale
    if not is_image_alone(spec):
        return describe_waterfall(output, bars, scale)
    values = np.array(flat(output["attributions"][spec.inputs[0].name]))
    up, down = (scale.change(values[mask].sum()) for mask in (values > 0, values < 0))
    what = "parts" if listed_players(output, spec.inputs[0].name) else "pixels"
    return f"{from_average(output, scale)} the {what} that speak for it come to {up}, those against to {down}."


def _add_description(svg: str, title: str, description: str) -> str:
    """Add the title and the alternative text for screen readers, and remove matplotlib's empty metadata."""
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head = re.search(r"<svg[^>]*", svg)
    assert head is not None, "an SVG begins with its element"
    attributes = ' role="img" aria-labelledby="whyserve-title whyserve-words">'
    content = (
        f'\n <title id="whyserve-title">{escape(title)}</title>'
        f'\n <desc id="whyserve-words">{escape(description)}</desc>'
    )
    return svg[: head.end()] + attributes + content + svg[head.end() + 1 :]
