"""Forests that converters made ONNX models of: exact values are those of shap.TreeExplainer."""

import lightgbm
import numpy as np
import onnxmltools
import pytest
import shap
import xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier, RandomForestRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import whyserve
from whyserve.errors import UnsupportedNetwork

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(300, 8)).astype(np.float32)
TARGET = (ROWS[:, 0] * ROWS[:, 1] + np.sin(ROWS[:, 2]) + 0.1 * RNG.normal(size=300)).astype(np.float32)
TYPES = [("rows", FloatTensorType([None, 8]))]
BACKGROUND, EXPLAINED = ROWS[:20], ROWS[20:26]


def of_lightgbm():
    forest = lightgbm.LGBMRegressor(n_estimators=50, verbose=-1).fit(ROWS, TARGET)
    return forest, onnxmltools.convert_lightgbm(forest, initial_types=TYPES)


def of_xgboost():
    forest = xgboost.XGBRegressor(n_estimators=50, max_depth=4).fit(ROWS, TARGET)
    return forest, onnxmltools.convert_xgboost(forest, initial_types=TYPES)


def of_scikit_learn():
    forest = RandomForestRegressor(30, max_depth=6, random_state=0).fit(ROWS, TARGET)
    return forest, to_onnx(forest, ROWS[:1])


def of_a_classifier():
    forest = GradientBoostingClassifier(n_estimators=40, random_state=0).fit(ROWS, TARGET > 0)
    return forest, to_onnx(forest, ROWS[:1], options={"raw_scores": True, "zipmap": False})


def of_a_classifier_of_xgboost():
    forest = xgboost.XGBClassifier(n_estimators=40, max_depth=4).fit(ROWS, TARGET > 0)
    return forest, margins(onnxmltools.convert_xgboost(forest, initial_types=TYPES))


def of_a_classifier_of_lightgbm():
    forest = lightgbm.LGBMClassifier(n_estimators=40, verbose=-1).fit(ROWS, (TARGET > 0).astype(int))
    return forest, margins(onnxmltools.convert_lightgbm(forest, initial_types=TYPES))


def margins(model):
    """The model without its last step, as docs/onnx.md takes it out."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "post_transform":
                attribute.s = b"NONE"
    return model


FORESTS = (
    of_lightgbm, of_xgboost, of_scikit_learn, of_a_classifier, of_a_classifier_of_xgboost, of_a_classifier_of_lightgbm
)  # fmt: skip


@pytest.mark.parametrize("make", FORESTS)
def test_exact_values_are_those_of_tree_explainer(make):
    forest, model = make()
    trees = shap.TreeExplainer(forest, BACKGROUND, feature_perturbation="interventional", model_output="raw")
    explainer = whyserve.Explainer(model, BACKGROUND, method="exact")
    (name,) = explainer.spec.output_names[-1:]
    ours = explainer(EXPLAINED, [name])
    theirs = trees.shap_values(EXPLAINED)
    np.testing.assert_allclose(ours.values, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)
    np.testing.assert_allclose(ours.base_values, np.ravel(trees.expected_value)[0], rtol=1e-5, atol=1e-5)
    assert np.abs(ours.residuals).max() < 1e-6


def test_a_pipeline_is_explained_at_its_raw_columns():
    pipeline = make_pipeline(MinMaxScaler(), RandomForestRegressor(30, max_depth=6, random_state=0)).fit(ROWS, TARGET)
    scaler, forest = pipeline
    theirs = shap.TreeExplainer(forest, scaler.transform(BACKGROUND)).shap_values(scaler.transform(EXPLAINED))
    explainer = whyserve.Explainer(to_onnx(pipeline, ROWS[:1]), BACKGROUND, method="exact")
    ours = explainer(EXPLAINED).values
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max(), rtol=0)


def test_sampling_methods_come_close_and_methods_with_gradients_are_refused():
    _, model = of_xgboost()
    exact = whyserve.Explainer(model, BACKGROUND, method="exact")(EXPLAINED).values
    for method, most in (("permutation", 0.2), ("kernel", 1e-3)):  # kernel enumerates the 256 coalitions of 8 features
        values = whyserve.Explainer(model, BACKGROUND, method=method)(EXPLAINED).values
        assert np.abs(values - exact).mean() < most * np.abs(exact).mean(), method
    for method in ("deep", "gradient"):
        with pytest.raises(UnsupportedNetwork, match="needs a network of torch or Keras; for an ONNX model, use"):
            whyserve.Explainer(model, BACKGROUND, method=method)
