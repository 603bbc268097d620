"""Keras models in a process whose Keras runs on TensorFlow, as most are trained."""

from functools import partial

import numpy as np

from tests.export.corpus import registry
from tests.export.corpus.registry import inputs_as_rows, named_rows

network = partial(registry.network, keras="tensorflow")
RNG = np.random.default_rng(3)
COLUMNS = ["age", "income", "debt", "tenure"]
TABLE = RNG.normal(size=(60, 4)).astype(np.float32)
LABELS = ["no", "yes"]


def frame():
    import pandas as pd

    return pd.DataFrame(TABLE, columns=COLUMNS)


def on_table(package, model, **arguments):
    package(model, background=frame(), **{"labels": LABELS, **arguments})
    return named_rows(COLUMNS, TABLE[:6]), model.predict(TABLE[:6], verbose=0)


@network("table", "as it is: Sequential", ci=True)
def keras_sequential(package):
    import keras

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization(), keras.layers.Dense(2, "softmax")]
    return on_table(package, keras.Sequential([keras.Input((4,), name="person"), *layers]))


@network("table", "as it is: functional, with skips and dropout")
def keras_functional(package):
    import keras

    keras.utils.set_random_seed(1)
    x = keras.Input((4,), name="person")
    y = keras.layers.Dense(4, "gelu")(keras.layers.LayerNormalization()(x))
    y = keras.layers.Dropout(0.3)(keras.layers.Add()([x, y]))
    return on_table(package, keras.Model(x, keras.layers.Dense(1, "sigmoid")(y)))


@network("picture", "as it is: (height, width, channels)")
def keras_cnn(package):
    import keras

    keras.utils.set_random_seed(2)
    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.SeparableConv2D(6, 3, activation="relu"),
        keras.layers.MaxPooling2D(),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(2, "softmax"),
    ]
    model = keras.Sequential([keras.Input((8, 8, 3), name="image"), *layers])
    pictures = RNG.integers(0, 256, (16, 8, 8, 3)).astype(np.float32)
    package(model, background=pictures, labels=LABELS)
    return inputs_as_rows(image=pictures[:4]), model.predict(pictures[:4], verbose=0)


@network("series", "as it is: masking and an LSTM")
def keras_masked_lstm(package):
    import keras

    keras.utils.set_random_seed(3)
    layers = [keras.layers.Masking(0.0), keras.layers.LSTM(6), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential([keras.Input((10, 3), name="visits"), *layers])
    rows = RNG.normal(size=(20, 10, 3)).astype(np.float32)
    rows[::2, 6:] = 0
    package(model, background=rows, labels=LABELS)
    return inputs_as_rows(visits=rows[:4]), model.predict(rows[:4], verbose=0)


@network("text", "identifiers with mask_zero and both directions of a GRU")
def keras_embedding_gru(package):
    import keras

    keras.utils.set_random_seed(4)
    ids = keras.Input((8,), dtype="int32", name="words")
    x = keras.layers.Embedding(30, 6, mask_zero=True)(ids)
    x = keras.layers.Bidirectional(keras.layers.GRU(5))(x)
    model = keras.Model(ids, keras.layers.Dense(2, "softmax")(x))
    rows = RNG.integers(1, 30, (20, 8)).astype(np.int32)
    rows[::2, 5:] = 0
    package(model, background=rows, labels=LABELS, kinds={"words": "tokens"})
    return inputs_as_rows(words=rows[:4]), model.predict(rows[:4], verbose=0)


@network("identifiers", "a float input before an Embedding takes identifiers", ci=True)
def keras_float_input_before_embedding(package):
    import keras

    keras.utils.set_random_seed(5)
    layers = [keras.layers.Embedding(20, 4), keras.layers.GlobalAveragePooling1D(), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential([keras.Input((6,), name="words"), *layers])
    rows = RNG.integers(0, 20, (20, 6))
    package(model, background=rows, labels=LABELS, kinds={"words": "tokens"})
    return inputs_as_rows(words=rows[:4]), model.predict(rows[:4].astype(np.float32), verbose=0)


@network("table", "several inputs by name")
def keras_two_inputs(package):
    import keras

    keras.utils.set_random_seed(6)
    person, basket = keras.Input((4,), name="person"), keras.Input((5, 2), name="basket")
    x = keras.layers.Concatenate()([person, keras.layers.Flatten()(basket)])
    model = keras.Model([person, basket], keras.layers.Dense(1, name="price")(x))
    baskets = RNG.normal(size=(60, 5, 2)).astype(np.float32)
    package(model, background={"person": frame(), "basket": baskets}, names=["price"])
    rows = [{**row, "basket": b} for row, b in zip(named_rows(COLUMNS, TABLE[:6]), baskets[:6].tolist(), strict=True)]
    return rows, model.predict([TABLE[:6], baskets[:6]], verbose=0)


@network("series", "as it is: attention of several heads")
def keras_attention(package):
    import keras

    keras.utils.set_random_seed(7)
    x = keras.Input((8, 4), name="steps")
    y = keras.layers.LayerNormalization()(x + keras.layers.MultiHeadAttention(2, 4)(x, x))
    model = keras.Model(x, keras.layers.Dense(2, "softmax")(keras.layers.GlobalMaxPooling1D()(y)))
    rows = RNG.normal(size=(20, 8, 4)).astype(np.float32)
    package(model, background=rows, labels=LABELS)
    return inputs_as_rows(steps=rows[:4]), model.predict(rows[:4], verbose=0)


@network("code", "a Lambda layer goes through Keras's torch backend; the folder holds no code", ci=True)
def keras_lambda(package):
    import keras

    keras.utils.set_random_seed(8)
    layers = [keras.layers.Lambda(lambda x: x * keras.ops.sigmoid(1.7 * x)), keras.layers.Dense(2, "softmax")]
    return on_table(package, keras.Sequential([keras.Input((4,), name="person"), keras.layers.Dense(6), *layers]))


@network("code", "a custom layer goes through Keras's torch backend")
def keras_custom_layer(package):
    import keras

    class Gate(keras.layers.Layer):
        def build(self, shape):
            self.gate = self.add_weight(shape=(shape[-1],), initializer="ones")

        def call(self, x):
            return x * keras.ops.tanh(self.gate * x)

    keras.utils.set_random_seed(9)
    layers = [keras.layers.Dense(6), Gate(), keras.layers.Dense(1)]
    return on_table(package, keras.Sequential([keras.Input((4,), name="person"), *layers]), labels=(), names=["value"])


@network("code", "a subclass of keras.Model goes through Keras's torch backend")
def keras_subclassed(package):
    import keras

    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.first, self.norm = keras.layers.Dense(8), keras.layers.BatchNormalization()
            self.last = keras.layers.Dense(2, "softmax")

        def call(self, x, training=False):
            x = self.norm(keras.ops.relu(self.first(x)), training=training)
            return self.last(x)

    keras.utils.set_random_seed(10)
    model = Net()
    wanted = model.predict(TABLE[:6], verbose=0)
    package(model, background=frame(), labels=LABELS)
    return named_rows(COLUMNS, TABLE[:6]), wanted


@network("preprocessing inside", "StringLookup states the categories and their order", ci=True)
def keras_string_lookup(package):
    import keras
    import pandas as pd
    import tensorflow as tf

    keras.utils.set_random_seed(11)
    plan, age = keras.Input((1,), dtype="string", name="plan"), keras.Input((1,), name="age")
    codes = keras.layers.StringLookup(vocabulary=["premium", "plus", "basic"])(plan)
    x = keras.layers.Concatenate()([keras.layers.Flatten()(keras.layers.Embedding(4, 3)(codes)), age])
    model = keras.Model([plan, age], keras.layers.Dense(2, "softmax")(x))
    plans, ages = RNG.choice(["basic", "plus", "premium"], 40), RNG.uniform(18, 80, 40).astype(np.float32)
    package(model, background=pd.DataFrame({"plan": plans, "age": ages}), labels=LABELS)
    wanted = model([tf.constant(plans[:6, None]), tf.constant(ages[:6, None])]).numpy()
    return [{"plan": p, "age": a} for p, a in zip(plans[:6].tolist(), ages[:6].tolist(), strict=True)], wanted


@network("preprocessing inside", "Normalization, Discretization and one-hot categories stay layers")
def keras_feature_space(package):
    import keras
    import pandas as pd
    import tensorflow as tf

    keras.utils.set_random_seed(12)
    ages, incomes = RNG.uniform(18, 80, 40).astype(np.float32), RNG.lognormal(10, 1, 40).astype(np.float32)
    regions = RNG.choice(["north", "south", "west"], 40)
    age, income = keras.Input((1,), name="age"), keras.Input((1,), name="income")
    region = keras.Input((1,), dtype="string", name="region")
    normalization = keras.layers.Normalization()
    normalization.adapt(incomes[:, None])
    buckets = keras.layers.Discretization(bin_boundaries=[30.0, 45.0, 60.0], output_mode="one_hot")(age)
    one_hot = keras.layers.StringLookup(vocabulary=["south", "north", "west"], output_mode="one_hot")(region)
    x = keras.layers.Concatenate()([buckets, normalization(income), one_hot])
    model = keras.Model([age, income, region], keras.layers.Dense(1, "sigmoid")(keras.layers.Dense(6, "relu")(x)))
    table = pd.DataFrame({"age": ages, "income": incomes, "region": regions})
    package(model, background=table, labels=LABELS)
    given = [tf.constant(each[:6, None]) for each in (ages, incomes, regions)]
    return table.to_dict("records")[:6], model(given).numpy()


@network("preprocessing inside", "a plain TextVectorization becomes a tokenizer")
def keras_text_vectorization(package):
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(13)
    words = ["good", "bad", "film", "plot", "slow", "fun", "dull", "great", "the", "was"]
    texts = [" ".join(RNG.choice(words, RNG.integers(2, 7))).capitalize() + "!" for _ in range(30)]
    vectors = keras.layers.TextVectorization(output_sequence_length=8)
    vectors.adapt(texts)
    layers = [
        vectors,
        keras.layers.Embedding(20, 6),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(2, "softmax"),
    ]
    model = keras.Sequential([keras.Input((1,), dtype="string", name="review"), *layers])
    package(model, background=texts, labels=LABELS)
    return [{"review": text} for text in texts[:6]], model(tf.constant([[text] for text in texts[:6]])).numpy()


@network("outputs", "output chooses one of several outputs by its name")
def keras_two_outputs(package):
    import keras

    keras.utils.set_random_seed(14)
    x = keras.Input((4,), name="person")
    y = keras.layers.Dense(6, "relu")(x)
    model = keras.Model(x, {"risk": keras.layers.Dense(2, "softmax")(y), "value": keras.layers.Dense(1)(y)})
    package(model, background=frame(), labels=LABELS, output="risk")
    return named_rows(COLUMNS, TABLE[:6]), model.predict(TABLE[:6], verbose=0)["risk"]


@network("maps", 'reduce="mean" of a Keras segmentation')
def keras_segmentation(package):
    import keras

    keras.utils.set_random_seed(15)
    layers = [keras.layers.Conv2D(4, 3, padding="same", activation="relu"), keras.layers.Conv2D(2, 1)]
    model = keras.Sequential([keras.Input((8, 8, 1), name="image"), *layers])
    pictures = RNG.random((16, 8, 8, 1)).astype(np.float32)
    package(model, background=pictures, names=["sky", "ground"], reduce="mean")
    return inputs_as_rows(image=pictures[:4]), model.predict(pictures[:4], verbose=0).mean((1, 2))


@network("precision", "mixed_float16 is served as a float32 copy", gap=5e-3)
def keras_mixed_precision(package):
    import keras

    keras.utils.set_random_seed(16)
    keras.mixed_precision.set_global_policy("mixed_float16")
    layers = [keras.layers.Dense(8, "relu"), keras.layers.Dense(2, dtype="float32")]
    model = keras.Sequential([keras.Input((4,), name="person"), *layers])
    return on_table(package, model)
