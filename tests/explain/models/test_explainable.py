"""How a model as the worker holds it chooses what explains."""

from pathlib import Path

import pytest

from whyserve.errors import UnsupportedMethod
from whyserve.explain.models.explainable import ExplainableModel, load_model

FEW = {"samples": 2, "residual": 0.0, "distance": 0.12, "ms_per_row": 18.0, "standard_error": 0.15}


@pytest.fixture(scope="module")
def model(artifacts: Path) -> ExplainableModel:
    return load_model(Path("models"), artifacts / "breast_cancer", 1 << 30)


def with_few(model: ExplainableModel) -> ExplainableModel:
    """As if the machine that exported it had had time for two samples."""
    certificate = dict(model.manifest.certificate)
    methods = dict(certificate["methods"])
    methods["permutation"] = {**methods["permutation"], "within_budget": FEW}
    certificate |= {"default": "permutation", "reason": "two samples", "samples": 2, "methods": methods}
    other = object.__new__(ExplainableModel)
    other.__dict__.update(model.__dict__)
    other.manifest = model.manifest.model_copy(update={"certificate": certificate})
    return other


def test_auto_takes_the_samples_that_the_budget_has_room_for_and_says_how_far_that_is(model):
    choice = with_few(model).choose("auto")
    assert (choice.method, choice.samples, choice.distance) == ("permutation", 2, 0.12)
    assert choice.reason == "two samples"
    of_another = with_few(model).choose("auto", "elsewhere")
    assert (of_another.samples, of_another.distance) == (2, None)


def test_who_asks_for_samples_or_for_the_method_gets_what_was_asked_for(model):
    few = with_few(model)
    own = model.manifest.certificate["methods"]["permutation"]["distance"]
    assert few.choose("auto", samples=9).samples == 9
    assert few.choose("auto", samples=9).distance is None  # not what was measured
    asked = few.choose("permutation")
    assert (asked.samples, asked.distance, asked.reason) == (None, own, None)
    assert few.choose("permutation", samples=3).samples == 3


def test_a_method_that_does_not_sample_is_as_far_whatever_samples_are_sent(model):
    distance = model.manifest.certificate["methods"]["deep"]["distance"]
    assert model.choose("deep", samples=5).distance == distance
    assert model.choose("gradient", samples=5).distance is None


def test_a_method_that_does_not_fit_says_why(model):
    with pytest.raises(UnsupportedMethod, match="at most 16 players"):
        model.choose("exact")
