"""How a model in the worker chooses the method and the number of samples."""

from pathlib import Path

import pytest
import torch

from whyserve.errors import UnsupportedMethod
from whyserve.explain.game.device import Device
from whyserve.explain.models.explainable import ExplainableModel, load_model

WITHIN_BUDGET = {
    "samples": 2,
    "residual": 0.0,
    "residual_of_effect": 0.0,
    "counted_ms": 18.0,
    "distance": 0.12,
    "ms_per_row": 18.0,
    "standard_error": 0.15,
}


@pytest.fixture(scope="module")
def model(artifacts: Path) -> ExplainableModel:
    return load_model(Path("models"), artifacts / "breast_cancer", 1 << 30)


def with_two_samples(model: ExplainableModel) -> ExplainableModel:
    """The model with a certificate whose budget allows two samples."""
    certificate = dict(model.manifest.certificate)
    methods = dict(certificate["methods"])
    methods["permutation"] = {**methods["permutation"], "within_budget": WITHIN_BUDGET}
    certificate |= {"default": "permutation", "reason": "two samples", "samples": 2, "methods": methods}
    other = object.__new__(ExplainableModel)
    other.__dict__.update(model.__dict__)
    other.manifest = model.manifest.model_copy(update={"certificate": certificate})
    return other


def test_auto_uses_the_samples_within_the_budget_and_their_distance(model):
    choice = with_two_samples(model).choose_method("auto")
    assert (choice.method, choice.samples, choice.distance) == ("permutation", 2, 0.12)
    assert choice.reason == "two samples"
    with_other_background = with_two_samples(model).choose_method("auto", "elsewhere")
    assert (with_other_background.samples, with_other_background.distance) == (2, None)


def test_a_request_for_samples_or_a_method_is_followed(model):
    few = with_two_samples(model)
    own = model.manifest.certificate["methods"]["permutation"]["distance"]
    assert few.choose_method("auto", samples=9).samples == 9
    assert few.choose_method("auto", samples=9).distance is None  # not what was measured
    named = few.choose_method("permutation")
    assert (named.samples, named.distance, named.reason) == (None, own, None)
    assert few.choose_method("permutation", samples=3).samples == 3


def test_samples_do_not_change_the_distance_of_a_method_without_sampling(model):
    distance = model.manifest.certificate["methods"]["deep"]["distance"]
    assert model.choose_method("deep", samples=5).distance == distance
    assert model.choose_method("gradient", samples=5).distance is None


def test_the_error_says_why_a_method_does_not_fit(model):
    with pytest.raises(UnsupportedMethod, match="at most 16 players"):
        model.choose_method("exact")


def test_an_unknown_method_is_refused_with_the_known_ones(model):
    with pytest.raises(UnsupportedMethod, match=r'unknown method "lime"; available methods: auto, exact'):
        model.choose_method("lime")


def test_an_answer_names_the_device_only_where_it_is_not_the_cpu(model):
    assert model.device_facts == {}
    other = with_two_samples(model)
    other.manifest = other.manifest.model_copy(update={"certificate": {**other.manifest.certificate, "device": "cuda"}})
    assert other.device_facts == {"certified_on": "cuda"}
    other.device = Device(torch.device("cuda"), "cuda (a GPU)")
    assert other.device_facts == {"device": "cuda (a GPU)"}
    other.manifest = model.manifest
    assert other.device_facts == {"device": "cuda (a GPU)", "certified_on": "cpu"}
