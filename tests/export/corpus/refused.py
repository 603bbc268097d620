"""Networks that are refused, with the words of the message and the way out."""

import numpy as np

from tests.export.corpus.registry import refusal

RNG = np.random.default_rng(5)
TABLE = RNG.normal(size=(40, 4)).astype(np.float32)
LABELS = ["no", "yes"]


def refuse_table(package, model, **arguments):
    package(model, background=TABLE, labels=LABELS, **arguments)


@refusal("wrapper", "torch.export|torch.where", "TorchScript with a branch: write it with torch.where", ci=True)
def torchscript(package):
    import torch
    from torch import nn

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y: torch.Tensor = self.layer(x)
            return y if bool(x.sum() > 0) else -y

    refuse_table(package, torch.jit.script(Branch()))


@refusal("precision", "quantis|quantiz", "package the network before it is quantised")
def quantised_dynamically(package):
    import torch
    from torch import nn

    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    refuse_table(package, torch.ao.quantization.quantize_dynamic(model, {nn.Linear}))


@refusal("series", "pack_padded_sequence|packed", "mask the padded steps instead")
def packed_sequence(package):
    from torch import nn

    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x):
            lengths = (x.abs().sum(-1) > 0).sum(1).clamp(min=1).cpu()
            packed = nn.utils.rnn.pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            return self.head(self.lstm(packed)[1][0][-1])

    rows = RNG.normal(size=(20, 6, 3)).astype(np.float32)
    rows[::2, 4:] = 0
    package(Packed(), background=rows, labels=LABELS)


@refusal("random", "random", "return the mean in place of a sample", ci=True)
def sampled_latent(package):
    import torch
    from torch import nn

    class Sampled(nn.Module):
        def __init__(self):
            super().__init__()
            self.mean, self.head = nn.Linear(4, 3), nn.Linear(3, 2)

        def forward(self, x):
            mean = self.mean(x)
            return self.head(mean + torch.randn_like(mean))

    refuse_table(package, Sampled())


@refusal("random", "random", "use nn.Dropout, which eval mode turns off")
def functional_dropout(package):
    from torch import nn
    from torch.nn import functional as F

    class Dropping(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(F.dropout(x, 0.5))

    refuse_table(package, Dropping())


@refusal("rows", "other rows", "keep statistics of the training data in the weights")
def batch_statistics(package):
    from torch import nn

    class OverRows(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x - x.mean(0))

    refuse_table(package, OverRows())


@refusal("control flow", "torch.where|if ", "use torch.where")
def branch_on_values(package):
    from torch import nn

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(x) if x.sum() > 0 else -self.layer(x)

    refuse_table(package, Branch())


@refusal("outputs", "logits", "output= names one of them")
def several_outputs_without_a_choice(package):
    from torch import nn

    class Several(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return {"logits": self.layer(x), "aux": x}

    refuse_table(package, Several())


@refusal("categories", "categories=", "state the order of training")
def text_column_without_an_order(package):
    import pandas as pd
    from torch import nn

    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.f = nn.Embedding(3, 4), nn.Linear(4, 2)

        def forward(self, plan):
            return self.f(self.e(plan).flatten(1))

    package(Lookup(), background=pd.DataFrame({"plan": ["basic", "plus"] * 10}), labels=LABELS)


@refusal("preprocessing inside", "[Hh]ash", "use StringLookup", keras="tensorflow", ci=True)
def keras_hashing(package):
    import keras
    import pandas as pd

    x = keras.Input((1,), dtype="string", name="city")
    codes = keras.layers.Hashing(8, output_mode="one_hot")(x)
    model = keras.Model(x, keras.layers.Dense(2, "softmax")(codes))
    package(model, background=pd.DataFrame({"city": ["Bern", "Graz"] * 10}), labels=LABELS)


@refusal("preprocessing inside", "n-?gram", "use whole words", keras="tensorflow")
def keras_ngrams(package):
    import keras

    texts = ["good film", "bad plot", "fun film"] * 6
    vectors = keras.layers.TextVectorization(ngrams=2, output_sequence_length=6)
    vectors.adapt(texts)
    layers = [vectors, keras.layers.Embedding(20, 4), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")]
    package(keras.Sequential([keras.Input((1,), dtype="string"), *layers]), background=texts, labels=LABELS)


@refusal("preprocessing inside", "tf.?idf", "use identifiers and an Embedding", keras="tensorflow")
def keras_tf_idf(package):
    import keras

    texts = ["good film", "bad plot", "fun film"] * 6
    vectors = keras.layers.TextVectorization(output_mode="tf_idf")
    vectors.adapt(texts)
    model = keras.Sequential([keras.Input((1,), dtype="string"), vectors, keras.layers.Dense(2, "softmax")])
    package(model, background=texts, labels=LABELS)


@refusal("series", "stateful", "build the layer with stateful=False", keras="tensorflow")
def keras_stateful_lstm(package):
    import keras

    layers = [keras.layers.LSTM(4, stateful=True), keras.layers.Dense(2, "softmax")]
    model = keras.Sequential([keras.Input(batch_shape=(2, 5, 3)), *layers])
    package(model, background=RNG.normal(size=(20, 5, 3)).astype(np.float32), labels=LABELS)


@refusal("code", "keras.ops", "use keras.ops, which runs on every backend", keras="tensorflow")
def keras_layer_of_tensorflow(package):
    import keras
    import tensorflow as tf

    class OfTensorFlow(keras.layers.Layer):
        def call(self, x):
            return tf.nn.leaky_relu(x)

    layers = [OfTensorFlow(), keras.layers.Dense(2, "softmax")]
    refuse_table(package, keras.Sequential([keras.Input((4,)), *layers]))


@refusal("onnx", "batch|rows", "export the file with a free number of rows")
def onnx_of_one_row(package):
    import onnx
    from onnx import TensorProto, helper

    node = helper.make_node("Gemm", ["x", "w"], ["y"])
    weights = onnx.numpy_helper.from_array(RNG.normal(size=(4, 2)).astype(np.float32), "w")
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, size]) for name, size in (("x", 4), ("y", 2)))
    graph = helper.make_graph([node], "one", [x], [y], [weights])
    refuse_table(package, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10))
