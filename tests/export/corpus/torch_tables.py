"""torch networks on tables: layers of all kinds, several inputs, identifiers and masks."""

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from tests.export.corpus.registry import inputs_as_rows, named_rows, network

RNG = np.random.default_rng(0)
COLUMNS = ["age", "income", "debt", "tenure", "score"]
TABLE = RNG.normal(size=(60, 5)).astype(np.float32)
FRAME = pd.DataFrame(TABLE, columns=COLUMNS)
LABELS = ["no", "yes"]


def answers(model, *arrays):
    with torch.no_grad():
        result = model.eval()(*map(torch.from_numpy, arrays))
    return result.numpy()


def mlp(outputs=2, *last):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 16), nn.ReLU(), nn.Linear(16, outputs), *last)


def on_frame(package, model, **arguments):
    package(model, background=FRAME, **arguments)
    return FRAME.to_dict("records")[:8], answers(model, TABLE[:8])


@network("table", "as it is: logits of several labels", ci=True)
def mlp_logits(package):
    return on_frame(package, mlp(), labels=LABELS)


@network("table", "as it is: probabilities")
def mlp_softmax(package):
    return on_frame(package, mlp(3, nn.Softmax(1)), labels=["a", "b", "c"])


@network("table", "as it is: one probability of two labels")
def mlp_sigmoid(package):
    return on_frame(package, mlp(1, nn.Sigmoid()), labels=LABELS)


@network("table", "as it is: (rows,) of a regression")
def regression_squeezed(package):
    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = mlp(1)

        def forward(self, x):
            return self.body(x).squeeze(-1)

    return on_frame(package, Squeezed(), names=["price"], unit="EUR")


@network("table", "as it is: several values")
def regression_of_two(package):
    return on_frame(package, mlp(2), names=["low", "high"])


@network("table", "as it is")
def residual_layernorm_gelu(package):
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm, self.layer = nn.LayerNorm(5), nn.Linear(5, 5)

        def forward(self, x):
            return x + F.gelu(self.layer(self.norm(x)))

    torch.manual_seed(1)
    return on_frame(package, nn.Sequential(Block(), Block(), nn.Linear(5, 2)), labels=LABELS)


@network("table", "as it is: BatchNorm and Dropout in eval mode")
def batchnorm_dropout_left_in_training(package):
    torch.manual_seed(2)
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.SiLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    model(torch.from_numpy(TABLE))  # in training mode, which moves the running statistics
    return on_frame(package, model, labels=LABELS)


@network("table", "as it is: parametrizations")
def weight_norm_and_spectral_norm(package):
    torch.manual_seed(3)
    first = nn.utils.parametrizations.weight_norm(nn.Linear(5, 8))
    second = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 2))
    return on_frame(package, nn.Sequential(first, nn.Tanh(), second), labels=LABELS)


@network("table", "as it is: float64 stays")
def double_precision(package):
    torch.manual_seed(4)
    model = nn.Sequential(nn.Linear(5, 8), nn.ELU(), nn.Linear(8, 1)).double()
    package(model, background=FRAME.astype(np.float64), names=["value"])
    return FRAME.astype(np.float64).to_dict("records")[:8], answers(model, TABLE[:8].astype(np.float64))


@network("table", "as it is: gates of experts")
def mixture_of_experts(package):
    class Experts(nn.Module):
        def __init__(self):
            super().__init__()
            self.experts = nn.ModuleList(nn.Linear(5, 3) for _ in range(4))
            self.gate = nn.Linear(5, 4)

        def forward(self, x):
            weights = self.gate(x).softmax(-1)
            return (torch.stack([expert(x) for expert in self.experts], 1) * weights[..., None]).sum(1)

    torch.manual_seed(5)
    return on_frame(package, Experts(), labels=["a", "b", "c"])


@network("table", "as it is: tokens of features and self-attention")
def ft_transformer(package):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight, self.bias = nn.Parameter(torch.randn(5, 16)), nn.Parameter(torch.zeros(5, 16))
            self.cls = nn.Parameter(torch.zeros(1, 1, 16))
            layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True, norm_first=True)
            self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(16, 2)

        def forward(self, x):
            tokens = x[..., None] * self.weight + self.bias
            tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1)
            return self.head(self.encoder(tokens)[:, 0])

    torch.manual_seed(6)
    return on_frame(package, Tokens(), labels=LABELS)


@network("identifiers", "an int64 background makes identifiers", ci=True)
def ids_to_long(package):
    class Lookup(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.f = nn.Embedding(10, 4), nn.Linear(12, 2)

        def forward(self, ids):
            return self.f(self.e(ids.long()).flatten(1))

    torch.manual_seed(7)
    model, ids = Lookup(), RNG.integers(0, 10, (40, 3))
    package(model, background=ids, labels=LABELS, features=["first", "second", "third"])
    return named_rows(["first", "second", "third"], ids[:8]), answers(model, ids[:8])


@network("identifiers", "categories and numbers are two inputs of one table")
def wide_and_deep(package):
    class WideAndDeep(nn.Module):
        def __init__(self):
            super().__init__()
            self.city, self.wide = nn.Embedding(4, 3), nn.Linear(2, 1)
            self.deep = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 1))

        def forward(self, numbers, categories):
            deep = torch.cat([numbers, self.city(categories.long()).squeeze(1)], 1)
            return torch.sigmoid(self.wide(numbers) + self.deep(deep))

    torch.manual_seed(8)
    model = WideAndDeep()
    cities = ["Bern", "Graz", "Lyon", "Oslo"]
    numbers = RNG.normal(size=(40, 2)).astype(np.float32)
    codes = np.resize(np.arange(4), (40, 1))
    frame = pd.DataFrame({"age": numbers[:, 0], "income": numbers[:, 1]})
    frame["city"] = pd.Categorical.from_codes(codes[:, 0], cities)
    package(model, background=frame, labels=LABELS)
    return frame.to_dict("records")[:8], answers(model, numbers[:8], codes[:8])


@network("identifiers", "three inputs by name in a dict")
def three_inputs_with_long_inside(package):
    class Ranker(nn.Module):
        def __init__(self):
            super().__init__()
            self.user, self.item, self.rest = nn.Embedding(20, 4), nn.Embedding(30, 4), nn.Linear(3, 4)
            self.head = nn.Linear(12, 1)

        def forward(self, user, item, context):
            user, item = self.user(user.long()).flatten(1), self.item(item.long()).flatten(1)
            return self.head(torch.cat([user, item, self.rest(context)], 1))

    torch.manual_seed(9)
    model = Ranker()
    background: dict[str, np.ndarray] = {
        "user": RNG.integers(0, 20, (40, 1)),
        "item": RNG.integers(0, 30, (40, 1)),
        "context": RNG.normal(size=(40, 3)).astype(np.float32),
    }
    names = {"user": ["user_id"], "item": ["item_id"], "context": ["hour", "price", "stock"]}
    package(model, background=background, names=["rating"], features=names)
    first = [named_rows(names[name], background[name][:8]) for name in names]
    rows = [{**user, **item, **context} for user, item, context in zip(*first, strict=True)]
    return rows, answers(model, *(each[:8] for each in background.values()))


@network("identifiers", "a factorisation machine over one-hot identifiers")
def deep_fm(package):
    class DeepFM(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Embedding(30, 1), nn.Embedding(30, 4)
            self.deep = nn.Sequential(nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 1))
            self.register_buffer("offsets", torch.tensor([0, 10, 20]))

        def forward(self, fields):
            fields = fields + self.offsets
            vectors = self.second(fields)
            pairs = 0.5 * (vectors.sum(1) ** 2 - (vectors**2).sum(1)).sum(1, keepdim=True)
            return torch.sigmoid(self.first(fields).sum(1) + pairs + self.deep(vectors.flatten(1)))

    torch.manual_seed(10)
    model, ids = DeepFM(), RNG.integers(0, 10, (40, 3))
    package(model, background=ids, labels=LABELS, features=["user", "item", "shop"])
    return named_rows(["user", "item", "shop"], ids[:8]), answers(model, ids[:8])


@network("identifiers", "a bool array is a bool input", ci=True)
def autoint_with_bool_mask(package):
    class AutoInt(nn.Module):
        def __init__(self):
            super().__init__()
            self.e, self.f = nn.Embedding(12, 8), nn.Linear(8, 2)
            self.attention = nn.MultiheadAttention(8, 2, batch_first=True)

        def forward(self, ids, mask):
            x = self.e(ids)
            attended, _ = self.attention(x, x, x, key_padding_mask=mask, need_weights=False)
            return self.f(attended.mean(1))

    torch.manual_seed(11)
    model, ids = AutoInt(), RNG.integers(0, 12, (40, 4))
    mask = RNG.random((40, 4)) < 0.3
    mask[:, 0] = False
    package(model, background={"ids": ids, "mask": mask}, labels=LABELS, kinds={"ids": "tokens", "mask": "tensor"})
    return inputs_as_rows(ids=ids[:8], mask=mask[:8]), answers(model, ids[:8], mask[:8])


@network("identifiers", "columns of true and false among numbers")
def bool_columns(package):
    frame = FRAME.assign(owner=RNG.random(60) < 0.5, member=RNG.random(60) < 0.5)
    torch.manual_seed(12)
    model = nn.Sequential(nn.Linear(7, 8), nn.ReLU(), nn.Linear(8, 2))
    package(model, background=frame, labels=LABELS)
    return frame.to_dict("records")[:8], answers(model, frame.to_numpy(np.float32)[:8])


@network("outputs", "task multilabel: each label its own yes or no", ci=True)
def multilabel(package):
    return on_frame(package, mlp(3, nn.Sigmoid()), labels=["news", "sport", "music"], task="multilabel")
