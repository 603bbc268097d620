"""Recurrent networks and attention."""

import torch
import torch.nn.functional as F
from torch import nn

from tests.explain.zoo.case import Case, Lambda, Spec, by_axis, features

STEPS, WIDTH = 6, 4


class Recurrent(nn.Module):
    """A fused recurrent layer; the head reads its last step, or its final state."""

    def __init__(self, layer: nn.RNNBase, *, state: bool = False) -> None:
        super().__init__()
        self.layer, self.state = layer, state
        self.head = nn.Linear(layer.hidden_size * (1 if state else 1 + layer.bidirectional), 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.layer.batch_first else x.transpose(0, 1)
        out, hidden = self.layer(x)
        if self.state:
            last = (hidden[0] if isinstance(hidden, tuple) else hidden)[-1]
        else:
            last = out[:, -1] if self.layer.batch_first else out[-1]
        result: torch.Tensor = self.head(last)
        return result


class Cells(nn.Module):
    """Cells in a Python loop."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(WIDTH, 5), nn.GRUCell(5, 5), nn.RNNCell(5, 3, nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h, c, g, r = (x.new_zeros(x.shape[0], n) for n in (5, 5, 5, 3))
        for step in range(x.shape[1]):
            h, c = self.lstm(x[:, step], (h, c))
            g = self.gru(h, g)
            r = self.rnn(g, r)
        return r


class Attention(nn.Module):
    """Multi-head self-attention, with an optional causal mask."""

    def __init__(self, *, batch_first: bool = True, causal: bool = False) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2, batch_first=batch_first)
        self.first, self.head = nn.Linear(WIDTH, 8), nn.Linear(8, 2)
        mask = torch.triu(torch.ones(STEPS, STEPS, dtype=torch.bool), 1) if causal else None
        self.register_buffer("mask", mask)
        self.batch_first = batch_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(x)
        x = x if self.batch_first else x.transpose(0, 1)
        y = x + self.attention(x, x, x, attn_mask=self.mask, need_weights=False)[0]
        result: torch.Tensor = self.head(y[:, -1] if self.batch_first else y[-1])
        return result


class Dotted(nn.Module):
    """Causal scaled dot-product attention as a function, then a residual connection and a norm."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv, self.norm, self.head = nn.Linear(WIDTH, 24), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.qkv(x).view(x.shape[0], x.shape[1], 3, 2, 4).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        result: torch.Tensor = self.head(self.norm(y)[:, -1]).softmax(-1)
        return result


class Encoder(nn.Module):
    """torch's transformer encoder, which has a fast path outside a trace."""

    def __init__(self, *, norm_first: bool, activation: str = "relu", causal: bool = False) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(
            8, 2, 16, batch_first=True, norm_first=norm_first, activation=activation, dropout=0.1
        )
        self.first = nn.Linear(WIDTH, 8)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head, self.causal = nn.Linear(8, 3), causal

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(STEPS).to(x.dtype) if self.causal else None
        result: torch.Tensor = self.head(self.encoder(self.first(x), mask=mask).mean(1)).softmax(-1)
        return result


class Tokens(nn.Module):
    """Token and position embeddings, an encoder that masks the padding, and a mean over the other tokens."""

    def __init__(self, *, masked: bool) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(12, 8, padding_idx=0), nn.Embedding(STEPS, 8)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu")
        self.head, self.masked = nn.Linear(8, 3), masked

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.token(x) + self.place(torch.arange(x.shape[1]))
        y = self.layer(y, src_key_padding_mask=x == 0 if self.masked else None)
        result: torch.Tensor = self.head(y[:, 0]).softmax(-1)
        return result


class Bag(nn.Module):
    """A mean of embeddings."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.head = nn.Embedding(12, 8), nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.head(self.token(x).mean(1))
        return result


def _steps(name: str, build: object) -> Case:
    assert callable(build)
    return Case(name, build, features(STEPS, WIDTH), by_axis((STEPS, WIDTH)))


def _tokens(name: str, build: object) -> Case:
    assert callable(build)
    return Case(name, build, {"x": Spec((STEPS,), high=12)}, kind="probabilities")


CASES = [
    _steps("lstm", lambda: Recurrent(nn.LSTM(WIDTH, 5, batch_first=True))),
    _steps("lstm_time_first_state", lambda: Recurrent(nn.LSTM(WIDTH, 5), state=True)),
    _steps("lstm_bidirectional_stacked", lambda: Recurrent(nn.LSTM(WIDTH, 5, 2, batch_first=True, bidirectional=True))),
    _steps("lstm_projected", lambda: Lambda(lambda m, x: m.l(x)[0][:, -1], l=nn.LSTM(WIDTH, 5, proj_size=3,
        batch_first=True))),
    _steps("gru", lambda: Recurrent(nn.GRU(WIDTH, 5, batch_first=True))),
    _steps("gru_bidirectional", lambda: Recurrent(nn.GRU(WIDTH, 5, batch_first=True, bidirectional=True))),
    _steps("rnn_tanh", lambda: Recurrent(nn.RNN(WIDTH, 5, batch_first=True))),
    _steps("rnn_relu_stacked", lambda: Recurrent(nn.RNN(WIDTH, 5, 2, nonlinearity="relu"))),
    _steps("cells", Cells),
    _steps("attention", Attention),
    _steps("attention_time_first", lambda: Attention(batch_first=False)),
    _steps("attention_causal", lambda: Attention(causal=True)),
    _steps("attention_function", Dotted),
    _steps("encoder_pre_norm", lambda: Encoder(norm_first=True)),
    _steps("encoder_post_norm_gelu", lambda: Encoder(norm_first=False, activation="gelu")),
    _steps("encoder_causal", lambda: Encoder(norm_first=True, causal=True)),
    _tokens("encoder_tokens", lambda: Tokens(masked=False)),
    _tokens("encoder_tokens_padded", lambda: Tokens(masked=True)),
    _tokens("bag_of_tokens", Bag),
]  # fmt: skip
