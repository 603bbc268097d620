"""whyserve.Client against a running service."""

import numpy as np
import pandas as pd
import pytest

import whyserve
from tests.conftest import MODELS, example, rows_of
from whyserve.notebook.client import ServiceError


@pytest.fixture
def asking(service):
    with whyserve.Client(service.address) as made:
        yield made


def test_predictions_of_instances_frames_and_arrays(asking):
    rows = rows_of("wine", 5)
    expected = asking.predict("wine", rows)
    assert len(expected) == 5
    frame = pd.DataFrame(rows)
    assert asking.predict("wine", frame) == expected
    assert asking.predict("wine", frame.to_numpy(np.float32)) == expected
    assert list(expected.to_frame()["label"]) == [each["label"] for each in expected]


def test_an_explanation_is_the_same_as_in_process(asking, artifacts):
    rows = rows_of("breast_cancer", 3)
    ours = asking.explain("breast_cancer", rows, outputs="all", method="deep")
    theirs = whyserve.load(MODELS / "breast_cancer", artifacts).explain(rows, outputs="all", method="deep")
    np.testing.assert_array_equal(ours.values, theirs.values)
    assert ours.to_shap("malignant").values.shape == (3, 30)
    pd.testing.assert_frame_equal(ours.to_frame(), theirs.to_frame())
    assert "<svg" in ours._repr_html_()


def test_reasons_and_similar_rows_are_kept(asking, client):
    rows, how = rows_of("penguins", 2), {"reasons": True, "similar": 2}
    expected = client.post("/explain", json={"model": "penguins", "instances": rows, **how}).json()["explanations"]
    waited = asking.result(asking.explain_async("penguins", rows, **how), timeout_s=60)
    for explanation in (asking.explain("penguins", rows, **how), waited):
        for name in ("reasons", "similar", "more_unusual_share"):
            assert getattr(explanation, name) == [each[name] for each in expected]
    assert asking.explain("penguins", rows).reasons is None


@pytest.mark.parametrize("name", ["digits", "places", "sunspots"])
def test_other_kinds_are_drawn_too(asking, name):
    explanation = asking.explain(name, example(name)["instances"])
    assert "<svg" in explanation._repr_html_()
    assert len(explanation.to_frame()) == len(example(name)["instances"])


def test_an_explanation_without_waiting_and_a_summary(asking):
    pending = asking.explain_async("penguins", rows_of("penguins", 3), outputs=["Adelie"])
    explanation = asking.result(pending, timeout_s=60)
    assert explanation.values.shape == (3, 6)
    summary = asking.summary("penguins", rows_of("penguins", 40))
    assert set(summary.columns) == {"Adelie", "Chinstrap", "Gentoo"}
    assert set(summary.index) == set(example("penguins")["instances"][0])
    assert summary.sum(axis=1).is_monotonic_decreasing


def test_a_refusal_has_the_service_s_words(asking):
    with pytest.raises(ServiceError) as caught:
        asking.predict("nonsense", [{"a": 1}])
    assert (caught.value.status, caught.value.problem_code) == (404, "unknown_model")
    with pytest.raises(ServiceError, match="alcohol"):
        asking.predict("wine", [{**rows_of("wine", 1)[0], "alcohol": "strong"}])
