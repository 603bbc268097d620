"""Coalitions of players: which there are, what they are worth, and how Shapley values weigh them."""

from collections.abc import Iterator
from functools import partial
from math import comb

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.network import row_count


def coalition_values(
    passes: Passes, coalitions: torch.Tensor, rows: Inputs, outputs: torch.Tensor, progress: Progress
) -> torch.Tensor:
    """v, (R, 2^P, K) float64, of all coalitions: the empty one is known from construction, the full one is the row."""
    value = torch.zeros(row_count(rows), len(coalitions), outputs.shape[1], dtype=torch.float64)
    value[:, 0] = passes.base_values[outputs]
    value[:, -1] = passes.table(rows).gather(1, outputs)
    value[:, 1:-1] = background_means(passes, coalitions[1:-1], rows, outputs, progress, key="all")
    progress.go_on()
    return value


def background_means(
    passes: Passes,
    present: torch.Tensor,
    rows: Inputs,
    outputs: torch.Tensor,
    progress: Progress,
    *,
    key: str | None = None,
) -> torch.Tensor:
    """(R, C, K) float64: the network's mean over the background, at each coalition of `present`, (C, P) bool.

    key: a name by which mixes are kept for the next call; equal names must mean equal coalitions.
    Raises Stopped between chunks.
    """
    value = torch.zeros(row_count(rows), len(present), outputs.shape[1], dtype=torch.float64)
    for of_rows, of_coalitions, of_background in chunks(len(value), len(present), passes.rows, passes.chunk_rows):
        if not progress.go_on():
            raise Stopped
        mask = passes.masks.get(
            key and (key, of_coalitions.start, of_coalitions.stop, of_background.start, of_background.stop),
            partial(torch.unsqueeze, present[of_coalitions], 1),
            {name: x[None, of_background] for name, x in passes.background.items()},
        )
        out = passes(mask.fill({name: x[of_rows] for name, x in rows.items()})).reshape(-1, *mask.shape, passes.width)
        wanted = out.take_along_dim(outputs[of_rows, None, None, :], -1).double().sum(2)
        value[of_rows, of_coalitions] += wanted / passes.rows
        progress.done += out.shape[:3].numel()
    return value


def coalitions(players: int) -> torch.Tensor:
    """(2^P, P) bool; line s holds the bits of s, so that the first is empty and the last is full."""
    return (torch.arange(1 << players)[:, None] >> torch.arange(players)) & 1 == 1


def shapley_weights(present: torch.Tensor) -> torch.Tensor:
    """(P, 2^P) float64, W with φ = W v: |S|!(P−|S|−1)!/P! for joining S, the same taken away for standing in S + p."""
    count = present.shape[1]
    joining = torch.tensor([1 / (count * comb(count - 1, size)) for size in range(count)] + [0.0], dtype=torch.float64)
    sizes = present.sum(1)
    return torch.where(present, joining[sizes - 1][:, None], -joining[sizes][:, None]).T.contiguous()


def chunks(rows: int, coalitions: int, background: int, limit: int) -> Iterator[tuple[slice, slice, slice]]:
    """Blocks of at most `limit` network rows, the background together where it fits."""
    if not coalitions:
        return
    whole = max(1, limit // background)
    for of_rows in ranges(rows, max(1, whole // coalitions)):
        for of_coalitions in ranges(coalitions, whole):
            for of_background in ranges(background, limit):
                yield of_rows, of_coalitions, of_background
