"""Keras models on TensorFlow, packaged as a user would. Each function runs in a process of its own, without torch.

python -m tests.export.package.on_tensorflow FUNCTION FOLDER
"""

import random
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import tensorflow as tf
from keras import layers, ops

from whyserve.errors import WhyserveError
from whyserve.export.package.keras_text import tokenizer_of
from whyserve.export.package.network import network_of
from whyserve.export.package.package import package
from whyserve.predict.predictor import load_predictor

ROWS = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
TEXTS = ["a Good, film!", "bad film", "very bad", "not good", "Bad", ""]
SCALES = [2.0, 3.0]


def told(call, expected: str = "") -> str:
    """The one line of a refusal."""
    try:
        call()
    except WhyserveError as fault:
        said: str = fault.message
    else:
        raise AssertionError(f"not refused: {expected}")
    assert "\n" not in said
    return said


def served(folder: Path, model: Any, background: Any, instances: list[dict[str, Any]], **more: Any) -> np.ndarray:
    package(
        model, folder / "models" / "mine", background=background, labels=["no", "yes"],
        artifacts=folder / "artifacts", overwrite=True, **more,
    )  # fmt: skip
    predictor = load_predictor(folder / "artifacts" / "mine", 1)
    answers = predictor.outputs.predictions(predictor.table(predictor.arrays(instances)))
    return np.array([[each["scores"]["no"], each["scores"]["yes"]] for each in answers])


# -- preprocessing in front -------------------------------------------------------------------------


def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    plans, codes = rng.choice(["premium", "plus", "basic"], 30), rng.choice([10, 20, 30], 30)
    return pd.DataFrame({"plan": plans, "code": codes, "age": rng.uniform(20, 70, 30), "capital gain": rng.random(30)})


def features_model() -> Any:
    keras.utils.set_random_seed(0)
    given = {
        "plan": keras.Input((1,), name="plan", dtype="string"),
        "code": keras.Input((1,), name="code", dtype="int64"),
        "age": keras.Input((1,), name="age"),
        "capital gain": keras.Input((), name="capital gain"),
    }
    plan = layers.StringLookup(vocabulary=["premium", "basic"])  # plus is unknown
    age = layers.Normalization()
    age.adapt(table()[["age"]].to_numpy())
    encoded = [
        layers.Flatten()(layers.Embedding(plan.vocabulary_size() + 2, 3)(plan(given["plan"]))),
        layers.IntegerLookup(vocabulary=[10, 20, 30], output_mode="one_hot")(given["code"]),
        age(given["age"]),
        layers.Discretization([0.2, 0.5, 0.7], output_mode="one_hot")(ops.expand_dims(given["capital gain"], -1)),
    ]
    front = keras.Model(given, layers.Concatenate()(encoded))
    return keras.Model(given, layers.Dense(2, "softmax")(front(given)))


def features(folder: Path) -> None:
    """Requests carry the values; every category gets the answer of the caller's model, the unknown one too."""
    model = features_model()
    before = [len(layer._inbound_nodes) for layer in model._flatten_layers()]
    asked: list[dict[str, Any]] = [
        {"plan": plan, "code": code, "age": 30.5, "capital gain": gain}
        for plan, code, gain in [
            ("premium", "10", 0.1),
            ("basic", "20", 0.2),
            ("[UNK]", "-1", 0.6),
            ("basic", "30", 0.9),
        ]
    ]
    own = model({
        "plan": tf.constant([[each["plan"]] for each in asked]),
        "code": tf.constant([[int(each["code"])] for each in asked], tf.int64),
        "age": tf.constant([[each["age"]] for each in asked]),
        "capital gain": tf.constant([each["capital gain"] for each in asked]),
    })  # fmt: skip
    np.testing.assert_allclose(served(folder, model, table(), asked), own, atol=1e-6)
    assert before == [len(layer._inbound_nodes) for layer in model._flatten_layers()], "the caller's model was changed"
    wrong = {"plan": ["basic", "premium", "[UNK]"]}
    say = told(lambda: served(folder, model, table(), asked, categories=wrong))
    assert 'categories of "plan" differ from the vocabulary of layer "string_lookup"' in say
    assert 'has no column "age"' in told(lambda: served(folder, model, table().drop(columns="age"), asked))
    assert "has the columns x, which are no inputs" in told(lambda: served(folder, model, table().assign(x=1), asked))


def texts_model(**options: Any) -> Any:
    keras.utils.set_random_seed(0)
    vectorize = layers.TextVectorization(20, **{"output_sequence_length": 5, **options})
    vectorize.adapt(TEXTS)
    given = keras.Input((1,), dtype="string", name="review")
    return keras.Sequential([given, vectorize, layers.Embedding(20, 4), layers.GlobalAveragePooling1D(),
                             layers.Dense(2, "softmax")])  # fmt: skip


class Doubled(layers.Layer):  # type: ignore[misc]  # Keras is untyped
    def call(self, x):
        return x + tf.zeros_like(x) if SCALES is None else x * 1.0


def texts(folder: Path) -> None:
    """A TextVectorization before a layer with code. The caller's class stays as it is."""
    model, call = texts_model(), Doubled.call
    model.add(Doubled())
    asked = ["A  GOOD film?", "not, unheard-of very long bad bad film"]
    found = served(folder, model, TEXTS, [{"review": text} for text in asked])
    np.testing.assert_allclose(found, model(tf.constant(asked)[:, None]), atol=1e-6)
    assert Doubled.call is call


def ids(_: Path) -> None:
    """The tokenizer gives the ids of Keras for any text."""
    letters = [
        *"abcABCéÉüßẞİıſK \t\n\v\f\r\x00\x1c\x1f\x85\xa0\u2003\u200b\ufeff!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'’。中😀0",
        "[UNK]",
    ]
    words = ["a", "b", "ab", "aé", "é", "É", "unk", "A", "AB", "0", "a-b", "中", "😀", "a\x1cb", "İ"]
    drawn = random.Random(0)
    made = ["".join(drawn.choices(letters, k=drawn.randint(0, 14))) for _ in range(3000)]
    for steps in (None, "lower", "strip_punctuation", "lower_and_strip_punctuation"):
        layer = layers.TextVectorization(standardize=steps, output_sequence_length=6, vocabulary=words)
        tokenizer = tokenizer_of(layer, "x")
        expected = layer(tf.constant(made)[:, None]).numpy().tolist()
        assert [tokenizer.encode(text).ids for text in made] == expected, steps


def refusals(folder: Path) -> None:
    def chain(*parts: Any, shape: tuple[int, ...] = (1,), dtype: str = "string") -> Any:
        return keras.Sequential([keras.Input(shape, name="x", dtype=dtype), *parts, layers.Dense(2)])

    class Shout(layers.Layer):  # type: ignore[misc]  # Keras is untyped
        def call(self, x):
            return tf.strings.upper(x)

        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape, "string")

    class Inside(keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.known = layers.StringLookup(vocabulary=["a"], output_mode="one_hot")

        def call(self, x):
            return self.known(x)

    inside = Inside()
    inside(tf.constant([["a"]]))
    lookup = layers.StringLookup(vocabulary=["a"], output_mode="one_hot", name="known")
    stateful = layers.LSTM(3, stateful=True, name="kept")
    counted = layers.TextVectorization(vocabulary=["a"], output_mode="multi_hot")
    ragged = keras.Input((4,), ragged=True, name="loose")
    batch = keras.Input(batch_shape=(2, 3, 1), name="x")
    for model, words in (
        (lambda: chain(layers.Hashing(4, output_mode="one_hot", name="h")), 'layer "h" (Hashing) hashes values'),
        (lambda: chain(Shout(), lookup), 'layer "known" (StringLookup) must be the only layer that takes its'),
        (lambda: texts_model(ngrams=2), "has n-grams, which a tokenizer cannot do; use ngrams=None"),
        (lambda: texts_model(split="character"), 'has another split, which a tokenizer cannot do; use split='),
        (lambda: texts_model(output_sequence_length=None), "has no output_sequence_length"),
        (lambda: texts_model(output_sequence_length=None, ragged=True), "has ragged output"),
        (lambda: chain(counted), "has output_mode='multi_hot'"),
        (lambda: inside, "is inside a subclassed model; call it on a keras.Input in front of it"),
        (lambda: keras.Model(ragged, layers.Dense(1)(ragged)), 'input "loose" of the Keras model is ragged or sparse'),
        (lambda: keras.Model(batch, stateful(batch)), 'layer "kept" (LSTM) is stateful'),
    ):  # fmt: skip
        assert words in (said := told(lambda model=model: network_of(model()), words)), said


# -- Python code in a model --------------------------------------------------------------------------


class Scaled(layers.Layer):  # type: ignore[misc]  # Keras is untyped
    """Neither get_config nor **kwargs, a tensor of TensorFlow, and training code that never runs elsewhere."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.shift = [inner, {"again": inner}], tf.constant([1.0, 2.0])

    def build(self, shape):
        self.a = self.add_weight(shape=(2,), name="same")
        self.b = self.add_weight(shape=(2,), name="same", initializer="ones")
        super().build(shape)

    def call(self, x):
        return self.inner[1]["again"](x) * self.a + self.b * SCALES[1] + ops.cast(self.shift, tf.float32)

    def train_step(self, x):
        with tf.GradientTape():
            return tf.reduce_sum(x)


class Subclassed(keras.Model):  # type: ignore[misc]
    def __init__(self, head):
        super().__init__()
        self.norm, self.drop, self.scaled = layers.BatchNormalization(), layers.Dropout(0.5), Scaled(layers.Dense(2))
        self.head, self.mean = head, keras.metrics.Mean()
        self.tower = keras.Sequential([layers.Dense(3), layers.Lambda(lambda x: x * SCALES[0])])

    @tf.function
    def call(self, inputs, training=False):
        h = self.drop(self.norm(inputs["left"], training=training), training=training)
        return self.head(self.scaled(h) + self.tower(inputs["right"])[:, :2])


def subclassed() -> Any:
    keras.utils.set_random_seed(0)
    given = keras.Input((2,))
    model = Subclassed(keras.Model(given, layers.Dense(2, activation=lambda x: ops.softmax(x * 2))(given) + 0.0))
    model.compile("adam", "mse", metrics=["mae"])
    model.fit({"left": ROWS, "right": ROWS[:, :3]}, np.eye(2)[np.arange(20) % 2], epochs=2, verbose=0)
    return model


def code(folder: Path) -> None:
    """A subclassed model with layers in containers, a nested model, shared layers and a Lambda, trained before."""
    model = subclassed()
    background = {"left": ROWS, "right": ROWS[:, :3]}
    rows = [{f"left_{i}": float(row[i]) for i in range(4)} | {f"right_{i}": float(row[i]) for i in range(3)}
            for row in ROWS[:5]]  # fmt: skip
    own = model({"left": ROWS[:5], "right": ROWS[:5, :3]}, training=False)
    np.testing.assert_allclose(served(folder, model, background, rows), own, atol=1e-6)
    assert "torch" not in sys.modules
    spec = (folder / "models" / "mine" / "model.toml").read_text()
    assert 'framework = "torch"' in spec
    assert "a Keras model with Python code" in spec
    assert not (folder / "models" / "mine" / "model.keras").exists()


def foreign(_: Path) -> None:
    class Sum(layers.Layer):  # type: ignore[misc]
        def call(self, x):
            return tf.reduce_sum(x, axis=1, keepdims=True)

    model = keras.Sequential([keras.Input((4,), name="x"), layers.Dense(3), Sum(name="mine")])
    said = told(lambda: network_of(model).files({"x": ROWS}))
    assert said == (
        'layer "mine" (Sum) calls tensorflow.reduce_sum, which an exported model does not have; use keras.ops instead'
    ), said


if __name__ == "__main__":
    globals()[sys.argv[1]](Path(sys.argv[2]))
