"""The content of pictures for any names and numbers; equal explanations give equal bytes."""

import base64
import json
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from whyserve.explain.pictures.draw import draw_job
from whyserve.explain.pictures.elements import elements, flat, waterfall_bars
from whyserve.explain.pictures.panels import overlay
from whyserve.explain.pictures.words import Scale, adds_up, plain
from whyserve.jobs import Drawing, ExplainJob
from whyserve.model.arrays import PackedArray
from whyserve.model.fill import FilledWith
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.spec import ModelSpec, OutputSpec

SVG = "{http://www.w3.org/2000/svg}"
UNUSUAL = ["$x_1^{2$", "a<b>&amp;</svg><script>", "tab\tand\nline\x07", "身長 é", "w" * 200]


def spec_of(*inputs, task="regression", **output):
    given = {"names": ("y",), **output} if task == "regression" else output
    return ModelSpec(name="m", framework="torch", task=task, inputs=inputs, output=OutputSpec(**given))


def job_of(spec, arrays, output, kind="svg", **answer):
    used = {"name": "default", "rows": 9, "sha256": "ab" * 32}
    body = {
        "model": "m", "version": 1, "method": "exact", "background": used,
        "explanations": [{"prediction": {"value": 1.0}, "outputs": [output]}], **answer,
    }  # fmt: skip
    packed = {name: PackedArray.pack(np.asarray(array)) for name, array in arrays.items()}
    return ExplainJob(
        id="a", model="m", version=1, digest="d", rows=packed, served=PackedArray.pack(np.zeros((1, 1))),
        outputs=[[output["output"]]], created=0.0, drawing=Drawing(kind=kind, answer=json.dumps(body)),
    )  # fmt: skip


def explained(attributions, base=0.0, residual=0.0, name="y", **more):
    total = sum(sum(flat(value)) for value in attributions.values())
    return {"output": name, "value": base + total + residual, "base_value": base, "attributions": attributions,
            "residual": residual, **more}  # fmt: skip


def picture(job, spec):
    return base64.b64decode(json.loads(draw_job(job, spec))["data"])


def texts(svg):
    return [part.text for part in ET.fromstring(svg).iter(f"{SVG}text")]


TABLE = InputSpec(name="x", features=tuple(Feature(name=name, unit="kg") for name in UNUSUAL))


def test_unusual_names_are_only_text():
    spec = spec_of(TABLE, names=(UNUSUAL[1],))
    output = explained(dict(zip(UNUSUAL, (1.0, -2.0, 3.0, 0.5, -0.25), strict=True)), name=UNUSUAL[1])
    arrays = {"x": np.arange(5, dtype=np.float32)[None]}
    svg = picture(job_of(spec, arrays, output), spec)
    shown = texts(svg)
    assert not list(ET.fromstring(svg).iter(f"{SVG}script"))
    assert "$x_1^{2$ = 0 kg" in shown
    assert "a<b>&amp;</svg><script> = 1 kg" in shown
    assert any(text.startswith("tab and line") for text in shown)
    assert any(text.startswith("身長 é = 3") for text in shown)
    # A long name has lines, and only a very long one is cut.
    assert [len(text) for text in shown if text.startswith("ww")] == [34, 34, 32]
    assert any(text.startswith("ww") and text.endswith("…") for text in shown)
    assert picture(job_of(spec, arrays, output, "png"), spec).startswith(b"\x89PNG")


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_equal_explanations_give_equal_bytes(kind):
    spec = spec_of(InputSpec(name="s", kind="sequence", shape=(6,)))
    arrays = {"s": np.arange(6, dtype=np.float32)[None]}
    one, two = (explained({"s": [1.0, -1.0, 2.0, 0.0, 0.5, last]}, standard_errors={"s": [0.1] * 6}) for last in (1, 2))
    first = picture(job_of(spec, arrays, one, kind), spec)
    assert picture(job_of(spec, arrays, one, kind), spec) == first
    assert picture(job_of(spec, arrays, two, kind), spec) != first


INPUTS = {
    "grey": (InputSpec(name="i", kind="image", shape=(4, 5), range=(0, 1)), (4, 5)),
    "channels last": (InputSpec(name="i", kind="image", shape=(4, 5, 3)), (4, 5, 3)),
    "channels first": (InputSpec(name="i", kind="image", shape=(1, 4, 5)), (1, 4, 5)),
    "an odd image": (InputSpec(name="i", kind="image", shape=(2, 2, 2, 2)), (2, 2, 2, 2)),
    "steps of several": (InputSpec(name="i", kind="sequence", shape=(7, 4)), (7, 4)),
    "a long series": (InputSpec(name="i", kind="sequence", shape=(5000,)), (5000,)),
    "one step": (InputSpec(name="i", kind="sequence", shape=(1,)), (1,)),
    "a tensor": (InputSpec(name="i", kind="tensor", shape=(3, 2)), (3, 2)),
    "tokens": (InputSpec(name="i", kind="tokens", dtype="int64", shape=(12,)), (12,)),
}


@pytest.mark.parametrize("beside", [False, True], ids=["alone", "beside a table"])
@pytest.mark.parametrize("case", INPUTS)
def test_every_kind_of_input_is_drawn(case, beside):
    item, shape = INPUTS[case]
    more = (InputSpec(name="t", features=(Feature(name="a"),)),) if beside else ()
    spec = spec_of(item, *more)
    rng = np.random.default_rng(0)
    arrays = {"i": (100 * rng.random((1, *shape))).astype(item.dtype), "t": np.ones((1, 1), np.float32)}
    output = explained({"i": rng.normal(size=shape).tolist(), **({"a": 1.5} if beside else {})})
    given = {name: array for name, array in arrays.items() if name == "i" or beside}
    shown = texts(picture(job_of(spec, given, output), spec))
    assert ("speaks for it" in shown) == (item.kind == "image" and len(shape) < 4)
    assert ("step, counted from 0" in shown) == (item.kind == "sequence")
    assert ("average" in shown) == (beside or not (item.kind == "image" and len(shape) < 4))
    if beside:
        assert f"i, all {np.prod(shape)} values" in shown


def test_a_group_has_one_bar_and_small_elements_have_one_together():
    features = [Feature(name=f"f{i}", group="g" if i < 3 else None) for i in range(20)]
    spec = spec_of(InputSpec(name="x", features=tuple(features)))
    output = explained({"g": 5.0, **{f"f{i}": 1.0 / i for i in range(3, 20)}})
    found = elements(spec, {f"f{i}": float(i) for i in range(20)}, output)
    assert [found[0].label, found[1].label] == ["g", "f3 = 3"]
    bars = waterfall_bars(output, found)
    assert len(bars) == 10
    assert bars[-1].label == "9 others together"
    assert bars[-1].end == pytest.approx(output["value"])


def test_a_residual_has_a_bar_and_a_sentence():
    output = explained({"a": 1.0}, residual=0.5)
    bars = waterfall_bars(
        output, elements(spec_of(InputSpec(name="x", features=(Feature(name="a"),))), {"a": 1.0}, output)
    )
    assert (bars[-1].label, bars[-1].kind) == ("left unexplained", "rest")
    scale = Scale(percent=False, unit="")
    assert adds_up(output, scale) == "+0.5 is left unexplained, 33.3 % of what was to explain"
    assert adds_up(explained({"a": 1.0}, residual=1e-7), scale).endswith("to rounding")
    assert adds_up(explained({"a": 0.0}), scale).endswith("to rounding")


def test_tokens_have_their_text_as_labels():
    spec = spec_of(InputSpec(name="t", kind="tokens", dtype="int64", shape=(2,)))
    shares = [{"token": "Deutsch", "value": 0.5, "start": 0, "end": 7}, {"token": "land", "value": -0.25}]
    found = elements(spec, {"t": "Deutschland"}, {"attributions": {"t": shares}})
    assert [(each.label, each.value) for each in found] == [("“Deutsch”", 0.5), ("“land”", -0.25)]


def test_a_text_is_drawn_token_by_token():
    spec = spec_of(InputSpec(name="t", kind="tokens", dtype="int64", shape=(40,)))
    words = ["Deutsch", "##land", "<b>", "[PAD]", *(f"word{i:02}" for i in range(20))]
    shares = [{"token": word, "start": 0, "end": 1, "value": 0.5 - i} for i, word in enumerate(words)]
    svg = picture(job_of(spec, {"t": np.ones((1, 40), np.int64)}, explained({"t": shares})), spec)
    shown = texts(svg)
    assert [text for text in shown if text in words] == words
    assert {"speaks for it", "speaks against", "“word19”"} <= set(shown)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (-0.0, "0"), (12.5, "12.5"), (12345.6, "12,350"), (-1.5, "−1.5"), (1e-7, "1.00e−07"), (2e9, "2.00e+09")],
)
def test_numbers_are_short(number, text):
    assert plain(number) == text


def test_a_probability_is_in_percent_and_a_logit_is_not():
    labels = ("no", "yes")
    percent = Scale.of(OutputSpec(labels=labels))
    assert (percent.value(0.25), percent.change(-0.031), percent.change(1e-6)) == ("25.0 %", "−3.1", "0.0")
    logit = Scale.of(OutputSpec(labels=labels, scores="logits"))
    assert (logit.value(0.25), logit.change(2.0)) == ("0.25", "+2")
    assert Scale.of(OutputSpec(names=("y",), unit="points", scores="values")).value(3.0) == "3 points"


LONG = "months since the last payment that was more than thirty days late"


def test_long_labels_are_wrapped_and_nothing_is_cut():
    features = (Feature(name=LONG, unit="months"), Feature(name="age"))
    spec = spec_of(InputSpec(name="x", features=features))
    svg = picture(job_of(spec, {"x": np.array([[7.0, 41.0]], np.float32)}, explained({LONG: 1.0, "age": -0.5})), spec)
    assert f"{LONG} = 7 months" in " ".join(texts(svg))
    # The lines of a label are inside the picture and not over those of the next bar.
    label = [part for part in ET.fromstring(svg).iter(f"{SVG}text") if part.text and part.text in f"{LONG} = 7 months"]
    assert len(label) == 3


def test_missing_values_are_marked():
    """A job holds NaN for a missing value, whether the network gets it or the worker fills it."""
    features = (
        Feature(name="income", missing=True),
        Feature(name="age", missing=FilledWith(fill="median")),
        Feature(name="b"),
    )
    spec = spec_of(InputSpec(name="x", features=features))
    output = explained({"income": 1.0, "age": -0.5, "b": 0.25}, missing={"income": True, "age": True})
    arrays = {"x": np.array([[np.nan, np.nan, 2.0]], np.float32)}
    svg = picture(job_of(spec, arrays, output), spec)
    shown = " ".join(texts(svg))
    assert "income = missing " in shown
    assert "age = missing " in shown
    assert "b = 2 " in shown
    description = ET.fromstring(svg).findtext(f"{SVG}desc") or ""
    assert "income = missing: +1" in description
    assert "age = missing: −0.5" in description


def test_a_picture_names_its_day():
    spec = spec_of(InputSpec(name="x", features=(Feature(name="a"),)))
    job = job_of(spec, {"x": np.ones((1, 1), np.float32)}, explained({"a": 1.0}))
    later = job.model_copy(update={"created": 1_764_000_000.0})
    assert any(text.endswith("version 1. 1970-01-01.") for text in texts(picture(job, spec)))
    assert any(text.endswith("version 1. 2025-11-24.") for text in texts(picture(later, spec)))


@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_is_grey_where_nothing_has_an_effect(channels):
    """So that the only colours are those of the effects. Light stays light."""
    levels = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4, 1) * np.ones(channels, np.float32)
    axes = Figure().subplots()
    overlay(axes, levels if channels == 3 else levels[..., 0], np.zeros((3, 4)))
    drawn = np.asarray(axes.images[0].get_array())
    assert np.ptp(drawn, axis=-1).max() == 0
    assert (np.diff(drawn[..., 0].ravel()) > 0).all()
