"""The figures of docs/players.md: `python -m benchmarks.players ARTIFACTS [CASE …]`. All take some minutes of one core.

A distance is mean |φ − reference| / mean |φ of the reference|. The reference is exact for at most 12 players; otherwise
it is permutation with three times as many samples, at least 16, and another seed. Times are of the processor, with one
thread.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import nn

from whyserve.explain.game.base import Inputs, Limits
from whyserve.explain.game.network import Network, row_count
from whyserve.explain.models.explainable import load_background, load_model
from whyserve.explain.models.loader import load_network
from whyserve.explain.models.row_games import prepared
from whyserve.explain.models.traced_network import quick_network
from whyserve.export.sources import read_source
from whyserve.export.stages.ladder import Ladder
from whyserve.model.methods import BUDGET_MAX_MS, BUDGET_MS
from whyserve.model.missing import Gaps
from whyserve.model.players import Partition
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader

ROOT = Path(__file__).parent.parent
MOST_EXACT = 12
WORDS = (
    "the old ferry crossed the wide grey river before sunrise while gulls followed its wake and the captain who had"
    " sailed since boyhood told patient travellers quiet stories about storms and distant islands"
)


def figures(
    spec: ModelSpec,
    network: Network,
    background: Inputs,
    rows: Inputs,
    *,
    players: dict[str, Any],
    samples: int | None,
    method: str = "permutation",
    texts: dict[str, TextReader] | None = None,
) -> str:
    """One line: the distance, network rows and seconds of a method, each per explained row."""
    partition, reports = Partition(spec, players), list[float]()
    with torch.no_grad():
        outputs = network(rows).argmax(1, keepdim=True)
    explainer = prepared(method, network, background, spec, partition, texts=texts)
    if method == "permutation":
        explainer.explain({name: x[:1] for name, x in rows.items()}, outputs[:1], Limits(samples=1))  # fills the caches
    began = time.process_time()
    limits = Limits(samples=samples, on_progress=lambda share: reports.append(share) is None)
    answer = explainer.explain(rows, outputs, limits)
    seconds = (time.process_time() - began) / row_count(rows)
    few = not partition.follows_rows and partition.fixed.count <= MOST_EXACT
    truth = (
        prepared("exact", network, background, spec, partition).explain(rows, outputs, Limits())
        if few
        else explainer.explain(rows, outputs, Limits(samples=max(16, 3 * (samples or 6)), seed=4242))
    )
    distance = float((answer.values - truth.values).abs().mean() / truth.values.abs().mean())
    rows_each, against = answer.rows_evaluated // row_count(rows), "exact values" if few else "the reference"
    return (
        f"{answer.values.shape[-1]} players, {distance:.3f} from {against}, {rows_each:,} network rows,"
        f" {1e3 * seconds:,.0f} ms, {len(reports)} reports of progress"
    )


def spec_of(**given: Any) -> ModelSpec:
    output = {"names": ["y"], "scores": "values"}
    return ModelSpec.model_validate({"framework": "torch", "task": "regression", "output": output, **given})


def shipped(artifacts: Path) -> Iterator[str]:
    """The defaults that the export chose, and other patches of digits."""
    for name, others in (("digits", [({"patches": [2, 4]}, 6), ({"patches": [4, 4]}, 3)]), ("sunspots", [])):
        model = load_model(ROOT / "models", artifacts / name, 1 << 28)
        rows = {key: x[1 :: max(1, len(x) // 3)][:3] for key, x in model.background.items()}
        (key,) = rows
        choice = model.choose_method("auto")
        asked: list[tuple[str, dict[str, Any], int | None]] = [(choice.method, model.manifest.players, choice.samples)]
        asked += [("permutation", {key: each}, samples) for each, samples in others]
        for method, players, samples in asked:
            line = figures(
                model.spec, model.network, model.background, rows, players=players, samples=samples, method=method
            )
            yield f"{name}, {players}, {method}, {samples} samples: {line}"


class Last(nn.Module):
    """An LSTM and a layer on the mean of its states. Its weights are larger than usual: it is far from linear."""

    def __init__(self, channels: int, hidden: int = 16) -> None:
        super().__init__()
        self.lstm, self.head = nn.LSTM(channels, hidden, batch_first=True), nn.Linear(hidden, 1)
        with torch.no_grad():
            for weight in self.lstm.parameters():
                weight.mul_(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.lstm(x)[0].mean(1))
        return out


def series(steps: int, channels: int, background: int, rows: int) -> tuple[ModelSpec, Network, Inputs, Inputs]:
    """An untrained LSTM on random walks."""
    torch.manual_seed(0)
    spec = spec_of(
        name="lstm", inputs=[{"name": "x", "kind": "sequence", "dtype": "float32", "shape": [steps, channels]}]
    )
    walks = torch.randn(background + rows, steps, channels).cumsum(1) / np.sqrt(steps)
    network = Network(Last(channels).eval().requires_grad_(False), ("x",))
    return spec, network, {"x": walks[rows:]}, {"x": walks[:rows]}


def lstm() -> Iterator[str]:
    spec, network, background, rows = series(200, 6, 20, 2)
    budgets = (BUDGET_MS, BUDGET_MAX_MS)
    ladder = Ladder(spec, network, background, budgets, lambda table: [[0]] * len(table), lambda _: None)
    found = ladder.certified()
    samples, method = found.certificate.get("samples"), found.certificate["default"]
    line = figures(spec, network, background, rows, players=found.partition.wanted, samples=samples, method=method)
    yield f"LSTM, 200 steps × 6 channels, default {found.partition.wanted}, {method}, {samples} samples: {line}"


def sensors() -> Iterator[str]:
    players = {"x": {"windows": 20, "channels": True}}
    line = figures(*series(2000, 8, 10, 1), players=players, samples=3)
    yield f"LSTM, 2,000 steps × 8 sensors, 10 background rows, {players}, 3 samples: {line}"


def photograph() -> Iterator[str]:
    folder = ROOT / "examples" / "photographs"
    subprocess.run([sys.executable, str(folder / "make.py")], check=True)
    source = read_source(folder)
    spec, read = source.spec, lambda name: (folder / name).read_bytes()
    network, background = load_network(spec, read), load_background(spec, read, Gaps(spec, source.fills))
    for name, at in (("cat", 0), ("palace", 3)):
        rows = {"image": background["image"][at : at + 1]}
        line = figures(spec, network, background, rows, players=spec.explain.players, samples=spec.explain.samples)
        yield f"EfficientNet-Lite0, 224 × 224, {name}, {spec.explain.players}, {spec.explain.samples} samples: {line}"


class Sentence(nn.Module):
    """A DistilBERT of the usual size, untrained. Id 0 is padding."""

    def __init__(self) -> None:
        from transformers import DistilBertConfig, DistilBertForSequenceClassification

        super().__init__()
        torch.manual_seed(0)
        self.network = DistilBertForSequenceClassification(DistilBertConfig())

    def forward(self, text: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.network(text, attention_mask=(text != 0).long()).logits[:, :1]
        return out


def sentence() -> Iterator[str]:
    special = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]"]
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys([*special, *WORDS.split()]))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [("[CLS]", 1), ("[SEP]", 2)]
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", special_tokens=ends)
    tokenizer.add_special_tokens(special)
    spec = spec_of(
        name="sentence",
        inputs=[{"name": "text", "kind": "tokens", "dtype": "int64", "shape": [40], "tokenizer": "tokenizer.json"}],
    )
    reader = TextReader(spec.inputs[0], tokenizer.to_str().encode(), "tokenizer.json")
    rows = {"text": torch.tensor([reader.ids(WORDS)])}
    network = quick_network(spec, Network(Sentence().eval().requires_grad_(False), ("text",)), rows)
    for absent in ("mask", "removal"):
        players = {"text": {"words": True, "absent": absent}}
        line = figures(spec, network, rows, rows, players=players, samples=1, texts={"text": reader})
        yield f"DistilBERT, {players}, 1 sample: {line}"


def main(artifacts: Path, wanted: list[str]) -> None:
    torch.set_num_threads(1)
    cases = {
        "shipped": lambda: shipped(artifacts), "lstm": lstm, "sensors": sensors, "photograph": photograph,
        "sentence": sentence,
    }  # fmt: skip
    for name in wanted or cases:
        for line in cases[name]():
            print(line, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
