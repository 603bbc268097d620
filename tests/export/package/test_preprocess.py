"""A fitted scikit-learn transformer in front of a network: equal to scikit-learn, raw values in requests."""

import json
import os
import subprocess
import sys

import joblib  # type: ignore[import-untyped]
import keras
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PowerTransformer,
    RobustScaler,
    StandardScaler,
)
from torch import nn

from tests.conftest import ROOT, start_service
from whyserve.errors import InvalidInput
from whyserve.export.package.network import network_of
from whyserve.export.package.package import package
from whyserve.export.package.preprocess import Front

NUMBERS, TEXTS = ["time", "age", "income", "debt"], ["plan", "city", "grade"]
UNSEEN = {"handle_unknown": "use_encoded_value", "unknown_value": -1}


def table(rows: int = 300, seed: int = 0) -> pd.DataFrame:
    """Raw rows: a number with a large mean, whole numbers, a skewed number, three text columns, an identifier."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "id": [f"u{number}" for number in range(rows)],
            "time": rng.uniform(1.6e9, 1.6e9 + 1000, rows),
            "plan": rng.choice(["premium", "plus", "basic"], rows),
            "age": rng.integers(18, 90, rows),
            "city": rng.choice([*"abcdefgh"], rows, p=[0.3, 0.3, 0.2, 0.1, 0.04, 0.03, 0.02, 0.01]),
            "income": rng.lognormal(10, 1, rows).astype(np.float32),
            "debt": rng.normal(size=rows),
            "grade": rng.choice(["no", "yes"], rows),
        }
    )


def random_scaler(rng: np.random.Generator) -> BaseEstimator:
    flag = bool(rng.integers(2))
    scalers = [
        StandardScaler(with_mean=flag), StandardScaler(with_std=False), RobustScaler(with_centering=flag),
        MinMaxScaler((-1, 3), clip=flag), MaxAbsScaler(), FunctionTransformer(),
    ]  # fmt: skip
    steps = [scalers[place] for place in rng.integers(len(scalers), size=rng.integers(1, 3))]
    strategy = str(rng.choice(["mean", "median", "most_frequent", "constant"]))
    imputer = SimpleImputer(strategy=strategy, fill_value=7.5 if strategy == "constant" else None)
    return make_pipeline(*steps[:1], *([imputer] if rng.integers(2) else []), *steps[1:])


def random_encoder(rng: np.random.Generator) -> BaseEstimator:
    encoders = [
        OneHotEncoder(),
        OneHotEncoder(drop=str(rng.choice(["first", "if_binary"])), sparse_output=False),
        OneHotEncoder(handle_unknown="ignore", dtype=np.int8),
        OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist"),
        OneHotEncoder(max_categories=3, drop="first"),
        OrdinalEncoder(),
        OrdinalEncoder(min_frequency=15, **UNSEEN),
        make_pipeline(OrdinalEncoder(), StandardScaler()),
        make_pipeline(OrdinalEncoder(), OneHotEncoder()),
    ]
    encoder = encoders[rng.integers(len(encoders))]
    imputer = SimpleImputer(strategy="most_frequent")
    return make_pipeline(imputer, encoder) if rng.integers(2) else encoder


def random_case(seed: int):
    """(fitted, background, fresh rows), as a DataFrame or as an array."""
    rng = np.random.default_rng(seed)
    known, fresh = table(), table(200, seed + 1)
    numbers, texts = rng.permutation(NUMBERS).tolist(), rng.permutation(TEXTS).tolist()
    first_two = [column in numbers[:2] for column in known.columns]
    scaler, encoder = random_scaler(rng), random_encoder(rng)
    transformer = [
        scaler,
        ColumnTransformer([("numbers", scaler, numbers[:3]), ("texts", encoder, texts)]),
        ColumnTransformer([("texts", encoder, texts), ("id", "drop", ["id"])], remainder="passthrough"),
        ColumnTransformer([("some", scaler, first_two), ("rest", encoder, slice("city", "city"))]),
        ColumnTransformer([("all", encoder, make_column_selector("plan|grade"))]),
        ColumnTransformer([("n", scaler, [3, 0]), ("t", encoder, [4, -1, 5])], remainder=random_scaler(rng)),
        make_pipeline(ColumnTransformer([("t", encoder, slice(4, 7))], remainder="passthrough"), MinMaxScaler()),
    ][seed % 7]
    if seed % 7 > 4:
        known, fresh = (each[[*NUMBERS, *TEXTS]].to_numpy(object) for each in (known, fresh))
    elif seed % 7 == 0:
        known, fresh = known[NUMBERS], fresh[NUMBERS]
    return transformer.fit(known), known, fresh


def identity(framework: str, width: int):
    if framework == "torch":
        return network_of(nn.Identity())
    given = keras.Input((width,))
    return network_of(keras.Model(given, keras.layers.Identity()(given)))


@pytest.mark.parametrize("seed", range(28))
def test_the_layers_equal_scikit_learn_on_fresh_raw_rows(seed):
    fitted, known, fresh = random_case(seed)
    right = fitted.transform(fresh)
    right = np.asarray(right.toarray() if hasattr(right, "toarray") else right, np.float64)
    front, asked = Front.of(fitted, known), Front.of(fitted, fresh)
    for framework in ("torch", "keras"):
        whole, layers = identity(framework, right.shape[1]).with_front(front)
        for network in (whole, layers):
            made = network.run(asked.arrays)
            assert made.dtype == np.float32
            assert (np.abs(made - right) <= 1e-6 * np.abs(right).max(0)).all()


@pytest.mark.parametrize("framework", ["torch", "keras"])
def test_a_missing_number_gets_what_scikit_learn_fills_in(framework):
    known = table()[NUMBERS]
    for steps in (
        [SimpleImputer(strategy="median"), StandardScaler()],
        [StandardScaler(), SimpleImputer(strategy="constant", fill_value=9), MinMaxScaler(clip=True)],
    ):
        fitted = make_pipeline(*steps).fit(known)
        layers = identity(framework, 4).with_front(Front.of(fitted, known))[1]
        gaps = known.to_numpy(np.float64)[:8].copy()
        gaps[[0, 3, 3], [1, 0, 2]] = np.nan
        right = fitted.transform(pd.DataFrame(gaps, columns=NUMBERS))
        np.testing.assert_allclose(layers.run({"numbers": gaps}), right, rtol=1e-6, atol=1e-6)


def refused(transformer, background=None, network=None, **more) -> str:
    with pytest.raises(InvalidInput) as caught:
        package(
            network or nn.Linear(4, 1), "unwritten", background=table() if background is None else background,
            preprocess=transformer, **more,
        )  # fmt: skip
    return caught.value.message


class Mine(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    def fit(self, x, y=None):
        return self


def by_column(*parts):
    return ColumnTransformer([(f"part{number}", *part) for number, part in enumerate(parts)])


REFUSED = {
    "PowerTransformer cannot become layers, only StandardScaler, ": PowerTransformer(),
    "preprocess drops every column": ColumnTransformer([("a", "drop", ["age"])]),
    "Mine cannot become layers": Mine(),
    "FunctionTransformer with a function cannot become layers; apply the": FunctionTransformer(np.log1p),
    "SimpleImputer with add_indicator=True cannot": SimpleImputer(add_indicator=True),
    "SimpleImputer with missing_values=-1 cannot": SimpleImputer(missing_values=-1),
    "OneHotEncoder with scaled numbers cannot become layers; let the": make_pipeline(StandardScaler(), OneHotEncoder()),
    "ColumnTransformer with transformer_weights cannot": ColumnTransformer(
        [("a", StandardScaler(), ["age"])], transformer_weights={"a": 2}
    ),
    "OrdinalEncoder with other categories than another encoder": by_column(
        (OneHotEncoder(), ["age"]), (OrdinalEncoder(categories=[list(range(100))]), ["age"])
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_become_layers_is_refused_by_name(words):
    rows = table()[["age", "debt"]]
    assert words in refused(REFUSED[words].fit(rows), rows)


def test_rows_and_networks_that_do_not_fit_are_refused():
    rows = table()[NUMBERS]
    scaler = StandardScaler().fit(rows)
    plans = by_column((OneHotEncoder(), ["plan"]), ("passthrough", ["age"])).fit(table())
    assert "fit it with scikit-learn" in refused(StandardScaler())
    gaps = rows.assign(age=rows["age"].where(rows["age"] > 30))
    assert "columns with missing values: age (first in row " in refused(scaler, gaps)
    assert "lacks columns that preprocess was fitted on: income, debt" in refused(scaler, rows[["time", "age"]])
    assert "fitted on 4 columns, but the background has 3 columns" in refused(scaler, rows.to_numpy()[:, :3])
    assert 'categories of "plan" lack gold, which' in refused(plans, table().assign(plan="gold"))
    assert "does not encode the columns plan, city" in refused(
        ColumnTransformer([], remainder="passthrough").fit(table()[["age", "plan", "city"]])
    )
    assert "the encoders of preprocess state the categories" in refused(plans, categories={"plan": ["basic"]})
    assert "preprocess returns 4 columns, and the network does not take them: " in refused(
        scaler, None, nn.Linear(3, 1)
    )
    predictor = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, rows["debt"] > 0)
    assert "LogisticRegression cannot become layers" in (message := refused(predictor))
    assert message.endswith("give the steps before it, such as pipeline[:-1]")
    many = pd.DataFrame({"key": [f"k{number}" for number in range(5000)]})
    assert 'encodes "key" with 5000 categories, too many for 5000' in refused(OneHotEncoder().fit(many), many)
    dated = table()[["age"]].assign(day=pd.Timestamp("2026-01-01"))
    assert "columns with dates: day" in refused(ColumnTransformer([], remainder="passthrough").fit(dated), dated)
    two = nn.Bilinear(4, 4, 1)
    assert "the network has the inputs input1, input2; give the network one input" in refused(scaler, None, two)
    short = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1)])
    assert "has shape (4,); the network takes (5,)" in refused(scaler, None, short)


class Codes(nn.Module):
    """Takes integer codes of two columns."""

    def __init__(self):
        super().__init__()
        self.plan, self.grade, self.exit = nn.Embedding(3, 2), nn.Embedding(2, 2), nn.Linear(4, 1)

    def forward(self, codes):
        return self.exit(torch.cat([self.plan(codes[:, 0]), self.grade(codes[:, 1])], 1))


def test_the_codes_of_an_ordinal_encoder_stay_integers():
    known = table()[["plan", "grade"]]
    fitted = OrdinalEncoder().fit(known)
    network = Codes().eval()
    front = Front.of(fitted, known.to_numpy(object), ["plan", "grade"])
    whole, _ = network_of(network).with_front(front)
    right = network(torch.from_numpy(fitted.transform(known).astype(np.int64)))
    np.testing.assert_allclose(whole.run(front.arrays), right.detach().numpy(), atol=1e-6)
    assert front.features["categories"][0] == {"name": "plan", "categories": ["basic", "plus", "premium"]}


ROWS = {
    "numbers that encoders take": (
        OneHotEncoder(drop="if_binary"),
        pd.DataFrame({"b": [True, False, True], "i": [1, 3, 2], "f": [1.0, 2.5, 1.0]}),
        {"categories": [["False", "True"], ["1", "2", "3"], ["1.0", "2.5"]]},
    ),
    "a column that is scaled and encoded": (
        by_column((OneHotEncoder(), ["k"]), (StandardScaler(), ["k", "z"])),
        pd.DataFrame({"k": [1, 2, 5, 2], "z": [0.5, 3.0, 1.0, 2.0]}),
        {"numbers": [None], "categories": [["1", "2", "5"]]},
    ),
    "a categorical dtype in another order, and a bool": (
        by_column((OrdinalEncoder(), ["c"]), ("passthrough", ["b"])),
        pd.DataFrame({"b": [True, False], "c": pd.Categorical(["q", "r"], ["r", "q", "unused"])}),
        {"numbers": [None], "categories": [["q", "r"]]},
    ),
    "columns of objects": (
        by_column((OneHotEncoder(), [0]), (StandardScaler(), [1])).set_output(transform="default"),
        pd.DataFrame(np.array([["a", 1.0], ["b", 2.5]], object)),
        {"numbers": [None], "categories": [["a", "b"]]},
    ),
    "DataFrames between the steps": (
        by_column((OneHotEncoder(sparse_output=False), ["c"])).set_output(transform="pandas"),
        pd.DataFrame({"b": [True, False], "c": ["q", "r"]}),
        {"categories": [["q", "r"]]},
    ),
    "an array of texts": (
        OneHotEncoder(),
        np.array([["a", "much longer"], ["b", "y"]]),
        {"categories": [["a", "b"], ["much longer", "y"]]},
    ),
    "missing values among the categories": (
        OneHotEncoder(categories=[["a", "b", None]]),
        pd.DataFrame({"k": ["a", "b"]}),
        {"categories": [["a", "b"]]},
    ),
}


@pytest.mark.parametrize("form", ROWS)
def test_rows_of_every_form_become_numbers_and_categories(form):
    transformer, rows, categories = ROWS[form]
    right = transformer.fit(rows).transform(rows)
    front = Front.of(transformer, rows)
    found = {name: [each.get("categories") for each in features] for name, features in front.features.items()}
    assert found == categories
    made = network_of(nn.Identity()).with_front(front)[0].run(front.arrays)
    np.testing.assert_allclose(made, right.toarray() if hasattr(right, "toarray") else right, atol=1e-6)


def test_a_program_of_torch_export_gets_a_front():
    batch = torch.export.Dim("batch")
    program = torch.export.export(nn.Linear(3, 2), (torch.rand(3, 3),), dynamic_shapes=({0: batch},))
    rows = np.random.default_rng(0).normal(5, 2, size=(20, 3))
    front = Front.of(StandardScaler().fit(rows), rows, ["a", "b", "c"])
    whole, layers = network_of(program).with_front(front)
    right = program.module()(torch.from_numpy(layers.run(front.arrays)))
    np.testing.assert_allclose(whole.run(front.arrays), right.detach().numpy(), atol=1e-6)
    assert set(whole.files({name: array[:3] for name, array in front.arrays.items()}))
    assert [each["name"] for each in front.features["numbers"]] == ["a", "b", "c"]


ON_TENSORFLOW = """
import sys
import joblib, keras, numpy, whyserve
assert keras.backend.backend() == "tensorflow"
folder, artifacts, pipeline, answers = sys.argv[1:]
fitted, rows = joblib.load(pipeline)
made = numpy.asarray(fitted.transform(rows), "float32")
keras.utils.set_random_seed(0)
network = keras.Sequential([keras.Input((made.shape[1],)), keras.layers.Dense(5, "tanh"), keras.layers.Dense(2)])
numpy.save(answers, network(made))
whyserve.package(network, folder, background=rows, names=["low", "high"], preprocess=fitted, artifacts=artifacts,
                 expected=numpy.load(answers), units={"age": "years"}, groups={"debt_or_income": ["income", "debt"]})
"""


@pytest.mark.slow
def test_requests_carry_raw_values_and_explanations_add_up(tmp_path):
    rows = table()
    fitted = by_column(
        (make_pipeline(SimpleImputer(), StandardScaler()), ["time", "debt"]),
        (OneHotEncoder(handle_unknown="ignore"), ["plan", "grade"]),
        (make_pipeline(OneHotEncoder(min_frequency=40)), ["city"]),
        (MinMaxScaler(clip=True), ["age", "income"]),
    ).fit(rows)
    made = torch.tensor(fitted.transform(rows), dtype=torch.float32)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(made.shape[1], 5), nn.Tanh(), nn.Linear(5, 2))
    models, artifacts = tmp_path / "models", tmp_path / "artifacts"
    report = package(
        network, models / "on_torch", background=rows, names=["low", "high"], preprocess=fitted, artifacts=artifacts,
        units={"age": "years"}, groups={"debt_or_income": ["income", "debt"]}, expected=network(made).detach().numpy(),
    )  # fmt: skip
    assert "plan: 0 basic, 1 plus, 2 premium" in repr(report)
    assert "equal to scikit-learn's on 100 rows; requests do not carry id" in repr(report)
    assert report.manifest.certificate["methods"]["deep"]["residual"] < 1e-6
    joblib.dump((fitted, rows), tmp_path / "fitted")
    done = subprocess.run(
        [
            sys.executable, "-W", "ignore", "-c", ON_TENSORFLOW, str(models / "on_keras"), str(artifacts),
            str(tmp_path / "fitted"), str(tmp_path / "answers.npy"),
        ],
        cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "tensorflow"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = {"on_torch": network(made).detach().numpy(), "on_keras": np.load(tmp_path / "answers.npy")}
    asked = [200, 7, 31]
    instances = json.loads(rows.drop(columns="id").iloc[asked].to_json(orient="records", double_precision=15))
    running = start_service(artifacts, tmp_path / "state", models=models)
    try:
        with running.client() as client:
            for name, right in answers.items():
                request = {"model": name, "instances": instances, "outputs": "all"}
                explained = client.post("/explain", json=request).json()["explanations"]
                for row, explanation in zip(asked, explained, strict=True):
                    for output, value in zip(explanation["outputs"], right[row], strict=True):
                        shares = output["attributions"]
                        assert set(shares) == {"time", "debt_or_income", "plan", "grade", "city", "age"}
                        assert output["value"] == pytest.approx(value, abs=1e-5)
                        assert output["base_value"] + sum(shares.values()) == pytest.approx(value, abs=1e-5)
                        assert all(shares.values())
            unknown = [{**instances[0], "plan": "gold"}]
            assert client.post("/predict", json={"model": "on_torch", "instances": unknown}).status_code == 422
    finally:
        running.stop()
