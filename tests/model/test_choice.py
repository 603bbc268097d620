"""Which method explains a request, and when its answer is not reliable."""

import pytest

from whyserve.errors import UnsupportedMethod
from whyserve.model.choice import choose_auto, choose_method, doubt, trials, warnings
from whyserve.model.manifest import read_manifest


def figures(distance=0.1, of_effect=0.0, **more):
    times = {"counted_ms": 1.0, "ms_per_row": 1.0}
    return {"fits": True, "distance": distance, "residual_of_effect": of_effect, **times, **more}


def certificate(default="gradient", **more):
    permutation = figures(0.05, within_budget=figures(0.2, samples=2), within_budget_max=figures(0.08, samples=16))
    methods = {"exact": figures(0.0), "permutation": permutation, "gradient": figures(0.4)}
    return {"default": default, "reason": "the nearest", "methods": methods, **more}


def test_doubt_names_the_figure_that_is_too_large():
    assert doubt(figures(0.3, 0.05)) is None
    assert doubt(figures(0.31)) == "on rows of the model, attributions are 31% from the reference"
    assert doubt(figures(0.1, 0.07)) == "on rows of the model, 7% of the effect is left unexplained"
    assert doubt(figures(None)) == "its distance to exact values is not known"


def test_auto_takes_the_figures_of_its_number_of_samples():
    assert [each.get("samples") for each in trials(certificate()["methods"]["permutation"])] == [None, 2, 16]
    choice = choose_auto(certificate("permutation", samples=16), None, None)
    assert (choice.samples, choice.distance, choice.doubt) == (16, 0.08, None)
    assert choose_auto(certificate("permutation", samples=16), 5, None).distance is None
    assert choose_auto(certificate(), None, None).doubt is not None
    elsewhere = choose_auto(certificate(), None, None, default_background=False)
    assert (elsewhere.distance, elsewhere.doubt) == (None, None)


def test_a_limit_of_the_standard_error_needs_a_method_that_has_one():
    choice = choose_auto(certificate("permutation", samples=16), None, 0.01)
    assert (choice.method, choice.samples) == ("permutation", None)
    assert choice.reason == "samples until every standard error is at most 0.01"
    assert choose_auto(certificate("gradient"), None, 0.01).method == "permutation"
    assert choose_auto(certificate("exact"), None, 0.01).method == "exact"
    without = certificate("gradient")
    without["methods"]["permutation"] = {"fits": False, "why": "too slow"}
    with pytest.raises(
        UnsupportedMethod, match='"gradient" takes no limit of the standard error; use permutation or exact'
    ):
        choose_auto(without, None, 0.01)


def test_an_export_warns_of_doubts_and_of_times_that_are_far_off(artifacts):
    manifest, _ = read_manifest(artifacts / "linear")
    made = certificate()
    assert warnings(manifest.model_copy(update={"certificate": made})) == [
        "not reliable: on rows of the model, attributions are 40% from the reference"
    ]
    made["default"] = "exact"
    made["methods"]["exact"]["ms_per_row"] = 3.1
    made["methods"]["gradient"]["ms_per_row"] = 0.4
    assert warnings(manifest.model_copy(update={"certificate": made})) == [
        "measured times are far from those by counted work: exact 3.1 times"
    ]


def test_the_samples_of_model_toml_are_those_of_its_method(artifacts):
    manifest, _ = read_manifest(artifacts / "wine")
    explain = manifest.spec.explain.model_copy(update={"method": "permutation", "samples": 2})
    made = manifest.model_copy(update={"spec": manifest.spec.model_copy(update={"explain": explain})})
    groups = {"groups": {"colour": ["hue", "color_intensity"]}}
    assert [choose_method(made, method).samples for method in ("auto", "permutation", "gradient")] == [2, 2, None]
    assert choose_method(made, players=groups).samples == 2
    assert choose_method(made, samples=3).samples == 3
    assert choose_method(made, standard_error=0.1).samples is None
