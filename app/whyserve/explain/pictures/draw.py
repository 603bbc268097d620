"""An answer and the row it explains → a picture of it, as SVG or PNG. Equal answers give equal bytes."""

import base64
import io
import json
import re
import warnings
from collections.abc import Mapping
from typing import Any, Literal
from xml.sax.saxutils import escape

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from pydantic_core import to_json

from whyserve.explain.pictures.elements import Line, clean, elements, flat, in_words, steps
from whyserve.explain.pictures.figure import Pictured, figure_of, is_image_alone
from whyserve.explain.pictures.words import Scale, facts
from whyserve.jobs import ExplainJob
from whyserve.model.rows import Arrays, as_row
from whyserve.model.spec import ModelSpec

# Signs of the caller's are signs, text stays text, and what would be drawn by chance is not.
STYLE: Any = {
    "text.parse_math": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "whyserve",
    "font.family": ["DejaVu Sans"],
    "axes.unicode_minus": True,
}


def drawn(job: ExplainJob, spec: ModelSpec) -> bytes:
    """JSON: `data`, the picture in base64, of the job's first row and the one output in its drawing's answer."""
    drawing = job.drawing
    assert drawing is not None, "only a drawing is drawn"
    answer = json.loads(drawing.answer)
    arrays = {name: packed.unpack() for name, packed in job.rows.items()}
    output = answer["explanations"][0]["outputs"][0]
    pictured = Pictured(spec, as_row(spec, arrays, 0), arrays, answer, output, Scale.of(spec.output))
    return to_json({"data": base64.b64encode(_picture(pictured, drawing.kind)).decode()})


def svg_and_words(
    spec: ModelSpec, row: Mapping[str, Any], arrays: Arrays, answer: Mapping[str, Any], output: Mapping[str, Any]
) -> tuple[str, str]:
    """The picture of one output of one row, and the same in one sentence."""
    pictured = Pictured(spec, row, arrays, answer, output, Scale.of(spec.output))
    words = _words(pictured, steps(output, elements(spec, row, output)))
    return _picture(pictured, "svg").decode(), words


def _picture(of: Pictured, kind: Literal["svg", "png"]) -> bytes:
    found = steps(of.output, elements(of.spec, of.row, of.output))
    title = f"Why {of.spec.name} says {clean(of.output['output'])}: {of.scale.value(of.output['value'])}"
    said = facts(of.answer, of.output, of.scale)
    # A sign that the font lacks is a box, and no line in the log. Text is drawn with the figure's own settings.
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        figure = figure_of(of, found, title, said)
        content = io.BytesIO()
        if kind == "png":
            canvas: Any = FigureCanvasAgg(figure)
            canvas.print_png(content, metadata={"Software": None, "Title": title})
            return content.getvalue()
        canvas = FigureCanvasSVG(figure)
        canvas.print_svg(content, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return _described(content.getvalue().decode(), title, " ".join([_words(of, found), *said])).encode()


def _words(of: Pictured, found: list[Line]) -> str:
    if not is_image_alone(of.spec):
        return in_words(of.output, found, of.scale)
    shares = np.array(flat(of.output["attributions"][of.spec.inputs[0].name]))
    up, down = (of.scale.change(shares[which].sum()) for which in (shares > 0, shares < 0))
    return (
        f"From the average, {of.scale.value(of.output['base_value'])}, to the prediction,"
        f" {of.scale.value(of.output['value'])}: the pixels that speak for it come to {up}, those against to {down}."
    )


def _described(svg: str, title: str, words: str) -> str:
    """With the alternative text that a reader of pictures aloud looks for, and without the date's empty place."""
    svg = re.sub(r"\s*<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head = re.search(r"<svg[^>]*", svg)
    assert head is not None, "an SVG begins with its element"
    given = ' role="img" aria-labelledby="whyserve-title whyserve-words">'
    inside = f'\n <title id="whyserve-title">{escape(title)}</title>\n <desc id="whyserve-words">{escape(words)}</desc>'
    return svg[: head.end()] + given + inside + svg[head.end() + 1 :]
