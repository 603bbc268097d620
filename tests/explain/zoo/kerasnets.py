"""Keras networks on the torch backend, each in a module that calls it with training=False."""

from collections.abc import Callable
from typing import Any

import keras
import torch
from keras import layers
from torch import nn

from tests.explain.zoo.case import Case, Spec, by_axis, features
from tests.seeds import seed_keras

ACTIVATIONS = [
    "relu", "relu6", "leaky_relu", "elu", "selu", "celu", "gelu", "silu", "mish", "sigmoid", "hard_sigmoid",
    "hard_silu", "hard_tanh", "tanh", "tanh_shrink", "soft_shrink", "hard_shrink", "softplus", "softsign",
    "log_sigmoid", "exponential", "squareplus", "sparse_plus", "threshold", "linear", "softmax", "log_softmax",
]  # fmt: skip


class OfKeras(nn.Module):
    """A Keras model as a torch module."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.model(inputs[0] if len(inputs) == 1 else list(inputs), training=False)
        return result


def _activate(name: str) -> Any:
    if name == "threshold":
        return lambda x: keras.activations.threshold(x, 0.2, -0.1)
    return getattr(keras.activations, name)


def build(make: Callable[[], Any]) -> Callable[[], nn.Module]:
    """Set the seed, and the statistics of batch norms as after training."""

    def ready() -> nn.Module:
        seed_keras(0)
        model = make()
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                gamma, beta, mean, variance = layer.get_weights()
                layer.set_weights([gamma + 0.3, beta + 0.1, mean + 0.2, variance * 1.7])
        return OfKeras(model)

    return ready


def sequential(*parts: Any, shape: tuple[int, ...]) -> Any:
    """A Sequential model of these layers."""
    return keras.Sequential([keras.Input(shape), *parts])


def _activation(name: str) -> Callable[[], nn.Module]:
    return build(lambda: sequential(layers.Dense(8), layers.Activation(_activate(name)), layers.Dense(2), shape=(6,)))


def _attention() -> Any:
    x = keras.Input((6, 4))
    y = layers.Dense(8)(x)
    y = layers.LayerNormalization()(y + layers.MultiHeadAttention(2, 4)(y, y))
    y = layers.GlobalAveragePooling1D()(y)
    return keras.Model(x, layers.Dense(3, activation="softmax")(y))


def _two_inputs() -> Any:
    x, kind = keras.Input((4,), name="x"), keras.Input((2,), dtype="int64", name="kind")
    y = layers.Concatenate()([x, layers.Flatten()(layers.Embedding(5, 3)(kind))])
    y = layers.Dense(12, activation="relu")(y)
    return keras.Model([x, kind], layers.Dense(2)(layers.Multiply()([y, layers.Dense(12, activation="sigmoid")(y)])))


def _grouped_queries() -> Any:
    x = keras.Input((6, 4))
    y = layers.Dense(8)(x)
    y = y + layers.GroupQueryAttention(4, 4, 2)(y, y)
    return keras.Model(x, layers.Dense(2)(layers.Flatten()(y)))


def _additive_attention() -> Any:
    x = keras.Input((6, 4))
    return keras.Model(x, layers.Dense(2)(layers.GlobalAveragePooling1D()(layers.AdditiveAttention()([x, x]))))


def _categories() -> Any:
    x, kind = keras.Input((3,), name="x"), keras.Input((2,), dtype="int64", name="kind")
    y = layers.Normalization(mean=[1.0, 2.0, 3.0], variance=[1.0, 4.0, 9.0])(x)
    y = layers.Concatenate()([y, layers.CategoryEncoding(5, output_mode="multi_hot")(kind)])
    return keras.Model([x, kind], layers.Dense(2, activation="sigmoid")(layers.Dense(8, activation="relu")(y)))


def _discretised() -> Any:
    x = keras.Input((6,))
    y = layers.Embedding(4, 2)(layers.Discretization(bin_boundaries=[-1.0, 0.0, 1.0])(x))
    return keras.Model(x, layers.Dense(2)(layers.Concatenate()([x, layers.Flatten()(y)])))


def _merged() -> Any:
    x = keras.Input((6,))
    a, b = layers.Dense(4)(x), layers.Dense(4)(x)
    dots = [layers.Dot(1)([a, b]), layers.Dot(1, normalize=True)([a, b])]
    rest = [layers.Minimum()([a, b]), layers.Average()([a, b]), layers.Subtract()([a, b])]
    return keras.Model(x, layers.Dense(2)(layers.Concatenate()(dots + rest)))


def _residual() -> Any:
    x = keras.Input((6,))
    y = layers.Dense(8)(x)
    y = layers.Add()([y, layers.Dense(8, activation="gelu")(layers.RMSNormalization()(y))])
    y = layers.Maximum()([y, layers.Dense(8)(y)])
    return keras.Model(x, layers.Dense(2)(layers.UnitNormalization()(y)))


def _keras(name: str, make: Callable[[], Any], shape: tuple[int, ...], **rest: Any) -> Case:
    membership = by_axis(shape) if len(shape) == 2 else rest.pop("membership", None)
    return Case(f"keras_{name}", build(make), features(*shape), membership, keras=True, **rest)


CASES = [
    *(Case(f"keras_activation_{name}", _activation(name), features(6), keras=True) for name in ACTIVATIONS),
    _keras("dense_batch_norm_softmax", lambda: sequential(
        layers.Normalization(mean=[0.5] * 6, variance=[2.0] * 6), layers.Dense(12, activation="relu"),
        layers.BatchNormalization(), layers.Dropout(0.5), layers.Dense(3, activation="softmax"), shape=(6,)),
        (6,), kind="probabilities"),
    _keras("residual_norms", _residual, (6,)),
    _keras("layer_norm", lambda: sequential(
        layers.Dense(8), layers.LayerNormalization(), layers.PReLU(), layers.GroupNormalization(2), layers.Dense(2),
        shape=(6,)), (6,)),
    _keras("cnn", lambda: sequential(
        layers.Conv2D(6, 3, padding="same", activation="relu"), layers.MaxPooling2D(), layers.SeparableConv2D(6, 2),
        layers.Activation("swish"), layers.GlobalAveragePooling2D(), layers.Dense(3), shape=(6, 6, 1)),
        (6, 6, 1), membership=by_axis((6, 6, 1))),
    _keras("cnn_depthwise_transposed", lambda: sequential(
        layers.DepthwiseConv2D(3, depth_multiplier=3), layers.BatchNormalization(), layers.ReLU(6.0),
        layers.Conv2DTranspose(4, 2, strides=2), layers.AveragePooling2D(2), layers.GlobalMaxPooling2D(),
        layers.Dense(2), shape=(6, 6, 1)), (6, 6, 1), membership=by_axis((6, 6, 1))),
    _keras("conv1d", lambda: sequential(
        layers.Conv1D(6, 3, dilation_rate=2, padding="causal", activation="elu"), layers.MaxPooling1D(2),
        layers.Flatten(), layers.Dense(2), shape=(6, 4)), (6, 4)),
    _keras("lstm", lambda: sequential(layers.LSTM(5), layers.Dense(2, activation="softmax"), shape=(6, 4)), (6, 4)),
    _keras("gru_bidirectional", lambda: sequential(
        layers.Bidirectional(layers.GRU(5, return_sequences=True)), layers.SimpleRNN(4), layers.Dense(2), shape=(6, 4)),
        (6, 4)),
    _keras("time_distributed", lambda: sequential(
        layers.TimeDistributed(layers.Dense(5, activation="tanh")), layers.GlobalMaxPooling1D(), layers.Dense(2),
        shape=(6, 4)), (6, 4)),
    _keras("attention", _attention, (6, 4), kind="probabilities"),
    Case("keras_two_inputs", build(_two_inputs), {"x": Spec((4,)), "kind": Spec((2,), high=5)}, keras=True),
    Case("keras_embedding_masked", build(lambda: keras.Sequential([
        keras.Input((6,), dtype="int64"), layers.Embedding(9, 5, mask_zero=True), layers.LSTM(4), layers.Dense(2)])),
        {"x": Spec((6,), high=9)}, keras=True),
    _keras("grouped_queries", _grouped_queries, (6, 4)),
    _keras("additive_attention", _additive_attention, (6, 4)),
    Case("keras_categories", build(_categories), {"x": Spec((3,)), "kind": Spec((2,), high=5)}, keras=True),
    _keras("discretised", _discretised, (6,)),
    _keras("merged", _merged, (6,)),
    _keras("conv_lstm", lambda: sequential(
        layers.ConvLSTM1D(3, 2), layers.Flatten(), layers.Dense(2), shape=(4, 5, 2)),
        (4, 5, 2), membership=by_axis((4, 5, 2))),
]  # fmt: skip
