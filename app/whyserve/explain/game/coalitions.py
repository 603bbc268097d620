"""Coalitions of players: their list, their values in the game, and their weights in the Shapley value."""

from collections.abc import Iterator
from functools import partial
from math import comb

import torch

from whyserve.explain.game.base import Inputs, Stopped
from whyserve.explain.game.evaluation import Passes, Progress, ranges
from whyserve.explain.game.masking import mask_of
from whyserve.explain.game.network import row_count


def coalition_values(
    passes: Passes, coalitions: torch.Tensor, rows: Inputs, outputs: torch.Tensor, progress: Progress
) -> torch.Tensor:
    """v, (R, 2^P, K) float64: the value of every coalition, in the order of `coalitions`.

    Two values need no mixed rows: the empty coalition is the base value, and the full one is the prediction.
    Raises Stopped between chunks.
    """
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
    """(R, C, K) float64: the network's mean over the background for each coalition of `present`, (C, P) bool.

    key: a name under which the masks are cached for the next call. Equal names must mean equal coalitions.
    Raises Stopped between chunks.
    """
    value = torch.zeros(row_count(rows), len(present), outputs.shape[1], dtype=torch.float64)
    for row_slice, coalition_slice, background_slice in chunks(
        len(value), len(present), passes.rows, passes.chunk_rows
    ):
        if not progress.go_on():
            raise Stopped
        background = {name: x[None, background_slice] for name, x in passes.background.items()}
        mask = passes.masks.get(
            key and (key, coalition_slice.start, coalition_slice.stop, background_slice.start, background_slice.stop),
            partial(mask_of, passes.players, present[coalition_slice].unsqueeze(1), background),
        )
        out = passes(mask.fill({name: x[row_slice] for name, x in rows.items()})).reshape(-1, *mask.shape, passes.width)
        selected = out.take_along_dim(outputs[row_slice, None, None, :], -1).double().sum(2)
        value[row_slice, coalition_slice] += selected / passes.rows
        progress.done += out.shape[:3].numel()
    return value


def coalitions(players: int) -> torch.Tensor:
    """(2^P, P) bool: row s holds the bits of s. The first row is the empty coalition, the last is the full one."""
    return (torch.arange(1 << players)[:, None] >> torch.arange(players)) & 1 == 1


def shapley_weights(present: torch.Tensor) -> torch.Tensor:
    """(P, 2^P) float64, the matrix W of φ = W v (Shapley 1953).

    For player p, a coalition S without p has the weight −|S|!(P−|S|−1)!/P!, and S + p has the same weight positive.
    """
    count = present.shape[1]
    by_size = torch.tensor([1 / (count * comb(count - 1, size)) for size in range(count)] + [0.0], dtype=torch.float64)
    sizes = present.sum(1)
    return torch.where(present, by_size[sizes - 1][:, None], -by_size[sizes][:, None]).T.contiguous()


def interaction_values(present: torch.Tensor, value: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """(R, K, P, P): half of the Shapley interaction index of each pair of players (Grabisch & Roubens 1999).

    The main effect on the diagonal is the rest of the attribution (Lundberg et al. 2020).
    present: (2^P, P), all coalitions. value: (R, 2^P, K), their values. values: (R, K, P), the attributions.

    The index sums w(|S|)(v(S + i + j) − v(S + i) − v(S + j) + v(S)) with w(s) = s!(P − s − 2)!/(P − 1)! over all S
    without i and j. Sorted by coalition, its weights are a bilinear form of the indicators of i and j.
    """
    count, sizes, z = present.shape[1], present.sum(1), present.double()
    weights = [1 / ((count - 1) * comb(count - 2, size)) for size in range(count - 1)]
    # Sizes from −2 to P, with 0 where a coalition without i and j cannot have this size.
    padded = torch.tensor([0.0, 0.0, *weights, 0.0, 0.0], dtype=torch.float64)
    w0, w1, w2 = padded[sizes + 2], padded[sizes + 1], padded[sizes]
    both = torch.einsum("sp,s,rsk,sq->rkpq", z, w0 + 2 * w1 + w2, value, z)
    one = torch.einsum("sp,s,rsk->rkp", z, w0 + w1, value)
    none = torch.einsum("s,rsk->rk", w0, value)
    pairs = (both - one[..., None, :] - one[..., None] + none[..., None, None]) / 2
    pairs = pairs - torch.diag_embed(pairs.diagonal(dim1=-2, dim2=-1))
    return pairs + torch.diag_embed(values - pairs.sum(-1))


def chunks(rows: int, coalitions: int, background: int, limit: int) -> Iterator[tuple[slice, slice, slice]]:
    """Slices of rows, coalitions and background with at most `limit` network rows together.

    The background is split only if it exceeds the limit.
    """
    if not coalitions:
        return
    mixes = max(1, limit // background)  # (row, coalition) pairs that fit with the whole background
    for row_slice in ranges(rows, max(1, mixes // coalitions)):
        for coalition_slice in ranges(coalitions, mixes):
            for background_slice in ranges(background, limit):
                yield row_slice, coalition_slice, background_slice
