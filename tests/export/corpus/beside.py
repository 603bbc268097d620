"""Networks with scikit-learn's preprocessing beside them, and ONNX files of other libraries."""

import numpy as np

from tests.export.corpus.registry import named_rows, network

RNG = np.random.default_rng(4)
LABELS = ["no", "yes"]
COLUMNS = ["age", "income", "debt", "tenure"]
TABLE = (RNG.normal(size=(80, 4)) * [12, 9000, 400, 3] + [45, 30000, 900, 6]).astype(np.float32)
WANTED = (TABLE[:, 1] / 9000 - TABLE[:, 2] / 400 + RNG.normal(size=80) > 1).astype(np.int64)


def people():
    import pandas as pd

    plans, cities = RNG.choice(["basic", "plus", "premium"], 80), RNG.choice(["Bern", "Graz", "Oslo"], 80)
    return pd.DataFrame(TABLE, columns=COLUMNS).assign(plan=plans, city=cities)


@network("preprocessing beside", "preprocess=StandardScaler: requests carry raw values", ci=True)
def torch_standard_scaler(package):
    import torch
    from sklearn.preprocessing import StandardScaler
    from torch import nn

    torch.manual_seed(0)
    model, scaler = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), StandardScaler().fit(TABLE)
    package(model, background=TABLE, preprocess=scaler, labels=LABELS, features=COLUMNS)
    with torch.no_grad():
        wanted = model(torch.from_numpy(scaler.transform(TABLE[:6]).astype(np.float32))).numpy()
    return named_rows(COLUMNS, TABLE[:6]), wanted


@network("preprocessing beside", "preprocess=ColumnTransformer with one-hot categories")
def torch_column_transformer(package):
    import torch
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler
    from torch import nn

    torch.manual_seed(1)
    table = people()
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    steps = [("n", numbers, COLUMNS), ("c", OneHotEncoder(sparse_output=False), ["plan", "city"])]
    front = ColumnTransformer(steps).fit(table)
    model = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Linear(8, 2))
    package(model, background=table, preprocess=front, labels=LABELS)
    with torch.no_grad():
        wanted = model(torch.from_numpy(front.transform(table[:6]).astype(np.float32))).numpy()
    return table[:6].to_dict("records"), wanted


@network("preprocessing beside", "preprocess= in front of a Keras model", keras="tensorflow")
def keras_scaler_and_ordinal(package):
    import keras
    from sklearn.compose import ColumnTransformer
    from sklearn.preprocessing import MinMaxScaler, OrdinalEncoder

    keras.utils.set_random_seed(0)
    table = people()
    steps = [("n", MinMaxScaler(), COLUMNS), ("c", OrdinalEncoder(), ["plan"])]
    front = ColumnTransformer(steps).fit(table)
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(1, "sigmoid")])
    package(model, background=table.drop(columns="city"), preprocess=front, labels=LABELS)
    wanted = model.predict(front.transform(table[:6]).astype(np.float32), verbose=0)
    return table[:6].drop(columns="city").to_dict("records"), wanted


def from_sklearn(package, model, **options):
    from skl2onnx import to_onnx

    proto = to_onnx(model, TABLE[:1], options=options or None)
    package(proto, background=TABLE, labels=LABELS, features=COLUMNS)
    return named_rows(COLUMNS, TABLE[:6]), model.predict_proba(TABLE[:6])


@network("onnx", "a scikit-learn pipeline through skl2onnx", gap=1e-4, ci=True)
def sklearn_pipeline(package):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return from_sklearn(package, make_pipeline(StandardScaler(), LogisticRegression()).fit(TABLE, WANTED))


@network("onnx", "a random forest through skl2onnx", gap=1e-4)
def sklearn_forest(package):
    from sklearn.ensemble import RandomForestClassifier

    return from_sklearn(package, RandomForestClassifier(20, max_depth=4, random_state=0).fit(TABLE, WANTED))


@network("onnx", "a boosted forest of scikit-learn", gap=1e-4)
def sklearn_boosting(package):
    from sklearn.ensemble import GradientBoostingClassifier

    return from_sklearn(package, GradientBoostingClassifier(n_estimators=20, random_state=0).fit(TABLE, WANTED))


@network("onnx", "XGBoost through onnxmltools", gap=1e-4)
def xgboost_classifier(package):
    import xgboost
    from onnxmltools import convert_xgboost
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = xgboost.XGBClassifier(n_estimators=20, max_depth=3).fit(TABLE, WANTED)
    proto = convert_xgboost(model, initial_types=[("rows", FloatTensorType([None, 4]))])
    package(proto, background=TABLE, labels=LABELS, features=COLUMNS)
    return named_rows(COLUMNS, TABLE[:6]), model.predict_proba(TABLE[:6])


@network("onnx", "LightGBM through onnxmltools", gap=1e-4)
def lightgbm_regressor(package):
    import lightgbm
    from onnxmltools import convert_lightgbm
    from onnxmltools.convert.common.data_types import FloatTensorType

    model = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1).fit(TABLE, TABLE[:, 1] - TABLE[:, 2])
    proto = convert_lightgbm(model, initial_types=[("rows", FloatTensorType([None, 4]))], zipmap=False)
    package(proto, background=TABLE, names=["left"], features=COLUMNS)
    return named_rows(COLUMNS, TABLE[:6]), model.predict(TABLE[:6])[:, None]


@network("onnx", "an ONNX file that torch wrote", ci=True)
def onnx_of_torch(package):
    import torch
    from torch import nn

    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    free = ({0: torch.export.Dim("batch")},)
    rows = torch.from_numpy((TABLE - TABLE.mean(0)) / TABLE.std(0))
    program = torch.onnx.export(model, (rows[:3],), dynamo=True, dynamic_shapes=free, verbose=False)
    assert program is not None
    package(program.model_proto, background=rows.numpy(), labels=LABELS, features=COLUMNS)
    with torch.no_grad():
        return named_rows(COLUMNS, rows[:6].numpy()), model(rows[:6]).numpy()
