"""The table of trees in docs/players.md: `python -m benchmarks.owen`. It takes some minutes of one core.

`owen` and shap.PartitionExplainer explain the same rows over the same binary trees with the same number of coalitions.
A distance is mean |φ − exact| / mean |exact|; the exact Owen values are those of all coalitions of the tree.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import shap
import torch
from scipy.cluster.hierarchy import linkage
from scipy.ndimage import gaussian_filter
from scipy.spatial.distance import squareform
from sklearn.datasets import load_sample_images
from torch import nn

from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.owen.owen import Owen
from whyserve.model.hierarchy import Node, Tree

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("explaining", "sampling", "operations", "own-model", "reasons", "accountability")
ROWS, SEEDS, WORDS, COLUMNS = 3, 3, 48, 500


@dataclass(frozen=True, slots=True)
class Case:
    """A network of one input, rows, and for each row its background; linked: the binary tree, as scipy's linkage."""

    name: str
    network: Network
    rows: torch.Tensor
    backgrounds: Sequence[torch.Tensor]
    membership: torch.Tensor
    linked: np.ndarray
    samples: tuple[int, ...]

    def output(self, row: int) -> torch.Tensor:
        with torch.no_grad():
            return self.network({"x": self.rows[row : row + 1]}).argmax(1, keepdim=True)


def halves(members: Sequence[int], merges: list[list[float]], count: int) -> int:
    """The number of the node of these members, halved again and again. The merges are scipy's."""
    if len(members) == 1:
        return members[0]
    middle = len(members) // 2
    parts = [halves(members[:middle], merges, count), halves(members[middle:], merges, count)]
    merges.append([*parts, float(len(members)), float(len(members))])
    return count + len(merges) - 1


def joined(nodes: Sequence[tuple[int, int]], merges: list[list[float]], count: int) -> tuple[int, int]:
    """One node of nodes, each with its size."""
    if len(nodes) == 1:
        return nodes[0]
    middle = len(nodes) // 2
    (one, size), (other, more) = joined(nodes[:middle], merges, count), joined(nodes[middle:], merges, count)
    merges.append([one, other, float(size + more), float(size + more)])
    return count + len(merges) - 1, size + more


def tree_of(linked: np.ndarray) -> Tree:
    count = len(linked) + 1
    nodes: list[Node] = list(range(count))
    for number, (one, other, *_) in enumerate(linked):
        nodes.append((f"g{number}", [nodes[int(one)], nodes[int(other)]]))
    top = nodes[-1]
    assert isinstance(top, tuple)
    return Tree.of(list(map(str, range(count))), top[1])


def trained(module: nn.Module, x: torch.Tensor, y: torch.Tensor, steps: int) -> nn.Module:
    loss_of = nn.CrossEntropyLoss() if not y.is_floating_point() else nn.MSELoss()
    optimizer = torch.optim.Adam(module.parameters(), 2e-3)
    for _ in range(steps):
        chosen = torch.randint(len(x), (64,))
        optimizer.zero_grad()
        loss_of(module(x[chosen]), y[chosen]).backward()
        optimizer.step()
    return module.eval().requires_grad_(False)


class Attention(nn.Module):
    """A text classifier: an embedding, one layer of a transformer, and a mean."""

    def __init__(self, words: int, labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(words, 32)
        self.place = nn.Parameter(0.1 * torch.randn(WORDS, 32))
        self.layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.2, batch_first=True)
        self.head = nn.Linear(32, labels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.head(self.layer(self.embedding(x) + self.place).mean(1))
        return out


def probabilities(module: nn.Module) -> Network:
    return Network(nn.Sequential(module, nn.Softmax(1)).eval(), ("x",))


def paragraphs() -> Iterator[tuple[int, list[list[str]]]]:
    """The page and the sentences of paragraphs of this documentation, cut to WORDS words."""
    for label, page in enumerate(PAGES):
        text = re.sub(r"```.*?```|^\|.*?$", "", (DOCS / f"{page}.md").read_text(), flags=re.DOTALL | re.MULTILINE)
        words = [re.findall(r"[a-z]+", each.lower()) for each in re.split(r"[.:;!?]\s", text)]
        sentences = [each for each in words if each]
        for first in range(0, len(sentences), 2):
            taken: list[list[str]] = []
            for sentence in sentences[first:]:
                taken.append(sentence[: WORDS - sum(map(len, taken))])
                if sum(map(len, taken)) == WORDS:
                    yield label, taken
                    break


def text() -> Iterator[Case]:
    """Which page of the documentation a paragraph is from. An absent word is an unknown word."""
    found = list(paragraphs())
    counts: dict[str, int] = {}
    for _, sentences in found:
        for word in (word for sentence in sentences for word in sentence):
            counts[word] = counts.get(word, 0) + 1
    known = {word: number for number, word in enumerate(sorted(word for word, n in counts.items() if n > 2), 1)}
    x = torch.tensor([[known.get(word, 0) for sentence in each for word in sentence] for _, each in found])
    module = trained(Attention(len(known) + 1, len(PAGES)), x, torch.tensor([label for label, _ in found]), 300)
    for row in np.linspace(0, len(found) - 1, ROWS).astype(int).tolist():
        merges: list[list[float]] = []
        nodes, first = [], 0
        for sentence in found[row][1]:
            nodes.append((halves(range(first, first + len(sentence)), merges, WORDS), len(sentence)))
            first += len(sentence)
        joined(nodes, merges, WORDS)
        yield Case("text of 48 words", probabilities(module), x[row : row + 1], [torch.zeros_like(x[:1])],
                   torch.arange(WORDS), np.array(merges), (4, 8))  # fmt: skip


def photograph() -> Iterator[Case]:
    """Which quarter of two photographs a crop is from. An absent patch is blurred."""
    pictures = [picture[::4, ::4].transpose(2, 0, 1) / 255.0 for picture in load_sample_images().images]
    crops, labels = [], []
    for picture, image in enumerate(pictures):
        for top in range(0, image.shape[1] - 63, 6):
            for left in range(0, image.shape[2] - 63, 6):
                crops.append(image[:, top : top + 64, left : left + 64])
                labels.append(2 * picture + (left > (image.shape[2] - 64) / 2))
    x = torch.from_numpy(np.array(crops, np.float32))
    layers = [nn.Conv2d(3, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 32, 3, 2), nn.ReLU(), nn.Conv2d(32, 32, 3, 2), nn.ReLU()]
    module = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(128, 4))
    module = trained(module, x + 0.1 * torch.randn(x.shape), torch.tensor(labels), 100)
    patch = torch.arange(64) // 8
    membership = (8 * patch[:, None] + patch).expand(3, 64, 64)
    merges: list[list[float]] = []
    order = sorted(range(64), key=lambda n: [(n // 8 >> bit & 1, n % 8 >> bit & 1) for bit in (2, 1, 0)])
    halves(order, merges, 64)
    for row in np.linspace(5, len(x) - 5, ROWS).astype(int).tolist():
        blurred = torch.from_numpy(gaussian_filter(crops[row], [0, 8, 8], mode="nearest").astype(np.float32))[None]
        yield Case("photograph, 8 × 8 patches", Network(module, ("x",)), x[row : row + 1], [blurred], membership,
                   np.array(merges), (4, 8, 12))  # fmt: skip


def columns() -> Iterator[Case]:
    """A regression on 500 columns in 50 correlated clusters, with products of clusters, against ten rows."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(3000, 50, generator=generator)
    x = factors.repeat_interleave(10, 1) + 0.6 * torch.randn(3000, COLUMNS, generator=generator)
    y = (factors[:, :25].tanh() * factors[:, 25:]).sum(1) + factors[:, ::5].sum(1)
    module = nn.Sequential(nn.Linear(COLUMNS, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 1))
    module = trained(module, x, y[:, None], 800)
    distance = 1 - np.abs(np.corrcoef(x.numpy().T))
    np.fill_diagonal(distance, 0)
    linked = linkage(squareform(distance, checks=False), "ward")
    for row in range(ROWS):
        yield Case("table of 500 columns", Network(module, ("x",)), x[row : row + 1], [x[100:110]],
                   torch.arange(COLUMNS), linked, (2, 4))  # fmt: skip


def exact(case: Case) -> np.ndarray:
    """(P,): the recursion over a binary tree in all contexts, level by level."""
    count, (background,) = len(case.linked) + 1, case.backgrounds
    output = int(case.output(0))

    def value(present: torch.Tensor) -> torch.Tensor:
        parts = []
        for chosen in present.split(2000):
            mixed = torch.where(chosen[:, case.membership][:, None], case.rows[:, None], background[None])
            with torch.no_grad():
                out = case.network({"x": mixed.flatten(0, 1)})[:, output].double()
            parts.append(out.reshape(len(chosen), -1).mean(1))
        return torch.cat(parts)

    inside = torch.zeros(2 * count - 1, count, dtype=torch.bool)
    inside[:count] = torch.eye(count) > 0
    for number, (one, other, *_) in enumerate(case.linked, count):
        inside[number] = inside[int(one)] | inside[int(other)]
    contexts = {2 * count - 2: torch.zeros(1, count, dtype=torch.bool)}
    everyone = torch.tensor([[False], [True]]).expand(2, count)
    share = {2 * count - 2: float(value(everyone).diff())}
    for number in range(2 * count - 2, count - 1, -1):
        one, other = (int(child) for child in case.linked[number - count, :2])
        outside = contexts.pop(number)
        apart = float((value(outside | inside[one]) - value(outside | inside[other])).mean())
        share[one], share[other] = (share[number] + apart) / 2, (share[number] - apart) / 2
        contexts[one] = torch.cat([outside, outside | inside[other]])
        contexts[other] = torch.cat([outside, outside | inside[one]])
    return np.array([share[player] for player in range(count)])


def theirs(case: Case, passes: int) -> np.ndarray:
    """shap.PartitionExplainer on the same game: its masker mixes the row and the background."""
    (background,), output = case.backgrounds, int(case.output(0))

    def masker(mask: np.ndarray, _: np.ndarray) -> tuple[np.ndarray]:
        present = torch.from_numpy(mask.astype(bool))[case.membership]
        return (torch.where(present, case.rows, background).numpy(),)

    masker.shape = (len(background), len(case.linked) + 1)  # type: ignore[attr-defined]
    masker.clustering = case.linked  # type: ignore[attr-defined]

    def predict(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return case.network({"x": torch.from_numpy(x)})[:, output].numpy()

    explainer = shap.PartitionExplainer(predict, masker)
    found: np.ndarray = explainer(np.zeros((1, len(case.linked) + 1)), max_evals=passes, silent=True).values[0]
    return found


def main() -> None:
    torch.set_num_threads(1)
    print("| case | coalitions | `owen` | `PartitionExplainer` |\n| --- | --- | --- | --- |")
    for make in (text, photograph, columns):
        torch.manual_seed(0)
        found: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
        for case in make():
            truth = exact(case)
            players = Players(len(truth), {"x": case.membership}, lambda _, linked=case.linked: tree_of(linked))
            method = Owen(case.network, {"x": case.backgrounds[0]}, players)
            for samples in case.samples:
                answers = [
                    method.explain({"x": case.rows}, case.output(0), Limits(samples=samples, seed=seed))
                    for seed in range(SEEDS)
                ]
                passes = answers[0].rows_evaluated // len(case.backgrounds[0])
                rival = theirs(case, passes)
                ours = np.mean([np.abs(each.values[0, 0].numpy() - truth).mean() for each in answers])
                scale = np.abs(truth).mean()
                found.setdefault((case.name, samples), []).append(
                    (passes, ours / scale, np.abs(rival - truth).mean() / scale)
                )
        for (name, _), lines in found.items():
            passes, ours, rival = np.mean(lines, 0)
            print(f"| {name} | {passes:,.0f} | {ours:.3f} | {rival:.3f} |", flush=True)


if __name__ == "__main__":
    main()
