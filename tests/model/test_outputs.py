"""The columns of a network and the named outputs."""

import numpy as np
import pytest

from whyserve.errors import UnknownLabel
from whyserve.model.outputs import Outputs
from whyserve.model.spec import ModelSpec


def spec(scores="probabilities", task=None, **output):
    task = task or ("classification" if "labels" in output else "regression")
    return ModelSpec.model_validate(
        {
            "name": "m",
            "framework": "torch",
            "task": task,
            "inputs": [{"name": "x", "features": [{"name": "a"}]}],
            "output": {**output, "scores": scores},
        }
    )


def test_each_label_has_a_column():
    outputs = Outputs(spec(labels=["a", "b", "c"]), 3)
    table = np.array([[0.2, 0.5, 0.3], [0.9, 0.05, 0.05]])
    assert outputs.predictions(table)[0] == {"label": "b", "scores": {"a": 0.2, "b": 0.5, "c": 0.3}}
    assert [[o.name for o in row] for row in outputs.wanted("top", table)] == [["b"], ["a"]]
    assert [[o.column for o in row] for row in outputs.wanted("all", table)] == [[0, 1, 2]] * 2
    assert [[o.name for o in row] for row in outputs.wanted(["c", "a", "c"], table)] == [["c", "a"]] * 2
    with pytest.raises(UnknownLabel, match=r"outputs\[1\]"):
        outputs.wanted(["c", "d"], table)


@pytest.mark.parametrize(("scores", "first"), [("probabilities", 0.25), ("logits", -0.75)])
def test_two_labels_share_a_sigmoid(scores, first):
    outputs = Outputs(spec(scores, labels=["no", "yes"]), 1)
    (answer,) = outputs.predictions(np.array([[0.75]]))
    assert answer == {"label": "yes", "scores": {"no": first, "yes": 0.75}}
    no, yes = outputs.all
    assert (no.sign, yes.sign) == (-1, 1)
    # The attributions of the two labels differ in sign only; each label has its own base value.
    assert no.offset + no.sign * 0.75 == first


def test_a_regression_gives_one_value_or_one_value_per_name():
    assert Outputs(spec("values", names=["y"]), 1).predictions(np.array([[1.5]])) == [{"value": 1.5}]
    several = Outputs(spec("values", names=["y", "z"]), 2)
    assert several.predictions(np.array([[1.5, 2.5]])) == [{"values": {"y": 1.5, "z": 2.5}}]
    assert [o.name for o in several.wanted("top", np.zeros((1, 2)))[0]] == ["y", "z"]


def test_a_label_is_on_from_its_threshold_as_the_network_s_type_has_it():
    # 0.7 is not a float32: the nearest one is smaller, and a score of it still is on.
    outputs = Outputs(spec(task="multilabel", labels=["a", "b", "c"], thresholds=[0.7, 0.2, 0.5]), 3)
    table = np.array([[0.7, 0.1, 0.4], [0.1, 0.2, 0.9]], np.float32)
    assert [answer["labels"] for answer in outputs.predictions(table)] == [["a"], ["b", "c"]]
    assert [[o.name for o in row] for row in outputs.wanted("positive", table)] == [["a"], ["b", "c"]]
    assert [[o.name for o in row] for row in outputs.wanted("top", table)] == [["a"], ["c"]]
    logits = Outputs(spec("logits", task="multilabel", labels=["a", "b"]), 2)
    assert logits.predictions(np.array([[-0.1, 0.1]]))[0]["labels"] == ["b"]
    # In a classification, "positive" can be the name of a label.
    named = Outputs(spec(labels=["negative", "positive"]), 2)
    assert [[o.name for o in row] for row in named.wanted("positive", np.array([[0.9, 0.1]]))] == [["positive"]]


@pytest.mark.parametrize(
    "change", [{"thresholds": [0.5]}, {"thresholds": [0.5, 1]}, {"scores": "values"}, {"labels": []}]
)
def test_multilabel_needs_labels_scores_and_a_threshold_for_each(change):
    with pytest.raises(ValueError, match=r"multilabel|less than 1"):
        spec(**{"task": "multilabel", "labels": ["a", "b"], **change})
