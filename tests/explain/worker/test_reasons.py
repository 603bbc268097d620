"""Reasons for people: which features are named, and which of them are tied."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from tests.conftest import MODELS, rows_of
from whyserve.explain.models.explainable import ExplainableModel
from whyserve.explain.worker.batch import compute
from whyserve.explain.worker.reasons import _principal
from whyserve.jobs import ExplainJob
from whyserve.model.builds import read_original
from whyserve.model.manifest import read_manifest
from whyserve.model.reasons import ReasonsSpec, ReasonText
from whyserve.model.scale import scale_of
from whyserve.predict.predictor import load_predictor

SEEDS, ROWS = 20, 40


class Reasoner:
    """A shipped model with reasons that its model.toml has not."""

    def __init__(self, artifacts: Path, name: str, **reasons):
        build = (artifacts / name).resolve()
        manifest, digest = read_manifest(build)
        keys = {feature.player for item in manifest.spec.inputs for feature in item.features}
        texts = {key: ReasonText(code=key, raises=f"{key} raises", lowers=f"{key} lowers") for key in keys}
        self.reasons = ReasonsSpec(texts=texts, **reasons)
        spec = manifest.spec.model_copy(update={"reasons": self.reasons})
        self.reasons.check_model(spec)
        manifest = manifest.model_copy(update={"spec": spec})
        self.predictor = load_predictor(build, 1)
        self.model = ExplainableModel(
            manifest, digest, lambda file: read_original(MODELS, build, file, manifest), 512 << 20
        )

    def __call__(self, rows, scale=None, **more):
        """Explanations of rows, with reasons."""
        arrays, spec = self.predictor.arrays(rows), self.model.spec
        table = self.predictor.table(arrays)
        outputs = self.predictor.outputs.wanted([self.reasons.against], table)
        if (on := scale_of(spec, scale)) is not None:
            logits = self.predictor.logits(arrays)
            assert logits is not None, "the network ends in softmax or sigmoid"
            more |= {"scale": on, "logits": logits}
        job = ExplainJob.of(spec, self.model.digest, arrays, table, outputs, reasons="en", **more)
        (result,) = compute([job], self.model, lambda _: True)
        return orjson.loads(result.json)["explanations"]


@pytest.fixture(scope="module")
def wine(artifacts):
    return Reasoner(artifacts, "wine", against="barolo")


@pytest.mark.slow
def test_the_top_reasons_are_those_of_exact_or_tied(wine):
    rows = rows_of("wine", ROWS)
    expected = [names(each) for each in wine(rows, method="exact")]
    wrong = tied = 0
    for seed in range(SEEDS):
        for sampled, true in zip(wine(rows, method="permutation", seed=seed), expected, strict=True):
            places = [{each["feature"], *each.get("tied_with", ())} for each in sampled["reasons"]["named"]]
            tied += any(len(each) > 1 for each in places)
            wrong += len(places) > len(true) or any(
                place >= len(places) or feature not in places[place] for place, feature in enumerate(true)
            )
    assert wrong <= 0.01 * SEEDS * ROWS
    assert 0 < tied < 0.75 * SEEDS * ROWS  # if every row had a tie, it would say nothing


def names(explanation):
    return [each["feature"] for each in explanation["reasons"]["named"]]


def test_only_features_that_pushed_towards_the_outcome_are_named_and_the_largest_first(wine):
    for each in wine(rows_of("wine", 6), method="exact"):
        (output,), reasons = each["outputs"], each["reasons"]
        sign = 1 if reasons["against"] else -1
        assert reasons["against"] == (each["prediction"]["label"] == "barolo")
        pushes = {key: sign * value for key, value in output["attributions"].items()}
        largest = sorted((key for key in pushes if pushes[key] > 0), key=lambda key: -pushes[key])
        assert names(each) == largest[:4]
        word = "raises" if reasons["against"] else "lowers"
        assert [reason["text"] for reason in reasons["named"]] == [f"{key} {word}" for key in largest[:4]]
        assert all(reason["attribution"] == output["attributions"][reason["feature"]] for reason in reasons["named"])
        assert reasons["sentence"].endswith(f"{'; '.join(reason['text'] for reason in reasons['named'])}.")
        assert "tied_with" not in reasons["named"][0]
        assert "not_named" not in reasons


@pytest.mark.parametrize("label", ["malignant", "benign"])
def test_reasons_on_log_odds_are_those_of_the_answer(label, artifacts):
    """Both labels are one column of the network, one of them with the opposite sign."""
    made = Reasoner(artifacts, "breast_cancer", against=label)
    for each in made(rows_of("breast_cancer", 4), scale="log_odds", method="deep"):
        (output,) = each["outputs"]
        assert each["reasons"]["against"] == (output["value"] >= 0) == (each["prediction"]["label"] == label)
        sign = 1 if each["reasons"]["against"] else -1
        largest = sorted(output["attributions"], key=lambda key: -sign * output["attributions"][key])[:4]
        assert names(each) == largest
        assert [reason["attribution"] for reason in each["reasons"]["named"]] == [
            output["attributions"][key] for key in largest
        ]


def test_a_feature_that_is_never_named_is_counted(wine, artifacts):
    silent = Reasoner(artifacts, "wine", against="barolo", never=("proline", "alcohol"))
    for free, each in zip(*(made(rows_of("wine", 6), method="exact") for made in (wine, silent)), strict=True):
        values = free["outputs"][0]["attributions"]
        share = (abs(values["proline"]) + abs(values["alcohol"])) / sum(map(abs, values.values()))
        assert each["reasons"]["not_named"] == pytest.approx(share)
        assert not {"proline", "alcohol"} & set(names(each))
        kept = [key for key in names(free) if key not in {"proline", "alcohol"}]
        assert names(each)[: len(kept)] == kept


@pytest.mark.parametrize("below", [False, True])
def test_a_threshold_decides_and_below_names_what_lowers(below, artifacts):
    made = Reasoner(artifacts, "linear", against="progression", threshold=150, below=below)
    for each in made([{"bmi": 36.1, "bp": 115.0}, {"bmi": 20.0, "bp": 70.0}], method="exact"):
        reasons, is_high = each["reasons"], each["prediction"]["value"] >= 150
        assert reasons["against"] == (is_high != below)
        assert {reason["text"].split()[1] for reason in reasons["named"]} == {"raises" if is_high else "lowers"}
    rows = made([{"bmi": 36.1, "bp": 115.0}, {"bmi": 20.0, "bp": 70.0}])
    assert {each["reasons"]["against"] for each in rows} == {True, False}


def test_equal_attributions_are_tied_and_rounding_names_nobody():
    spec = ReasonsSpec(texts={}, against="y", most=2, never=("e",))
    pushes, errors = np.array([1.0, 3.0, 2.9, 1e-9, 2.95, -1.0]), np.full(6, 0.02)
    keys = ["a", "b", "c", "d", "e", "f"]
    assert _principal(spec, keys, pushes, None) == [(1, []), (2, [])]
    assert _principal(spec, keys, pushes, 2 * errors) == [(1, [2]), (2, [1])]
    assert _principal(spec, keys, np.array([1.0, 1.0, 1.0, 0, 0, 0]), None) == [(0, [1, 2]), (1, [0, 2])]
    assert _principal(spec, keys, np.array([1e-9, -1, 0, 0, 0, 0]), None) == []
