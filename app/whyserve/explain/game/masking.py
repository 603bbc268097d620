"""Mixed rows made fast: what the background gives to a mix is laid out once and kept between calls."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from threading import Lock

import torch

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.players import Players

KEPT_BYTES = 64 << 20
# An input of fewer elements is repeated along the coalitions, for torch copies short lines slowly.
SHORT = 256


@dataclass(frozen=True, slots=True)
class Mask:
    """Background rows with holes where a row's own elements go.

    holes: by input, 1 where a row's element goes and 0 elsewhere, in the input's dtype.
    base: by input, the background elsewhere. Both (a, c, *shape), for a · c mixes a row.
    """

    holes: Mapping[str, torch.Tensor]
    base: Mapping[str, torch.Tensor]

    def fill(self, rows: Inputs) -> dict[str, torch.Tensor]:
        """(r · a · c, *shape) an input, from r rows."""
        mixed = {}
        for name, holes in self.holes.items():
            row, across = rows[name], holes.shape[1]
            spread = row[:, None, None]
            if row[0].numel() < SHORT:
                spread = spread.expand(-1, -1, across, *row.shape[1:]).contiguous()
            # One factor is 0 or 1 and one term is 0, so nothing is rounded; a selection takes four times as long.
            mixed[name] = torch.addcmul(self.base[name], holes, spread).flatten(0, 2)
        return mixed

    @property
    def shape(self) -> tuple[int, int]:
        """(a, c)"""
        a, c = next(iter(self.base.values())).shape[:2]
        return a, c

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for part in (self.holes, self.base) for x in part.values())


class Masks:
    """Masks by key, the latest used kept while they take no more than KEPT_BYTES. Safe between threads."""

    def __init__(self, players: Players) -> None:
        self.players = players
        self._kept: OrderedDict[Hashable, Mask] = OrderedDict()
        self._bytes = 0
        self._lock = Lock()

    def get(self, key: Hashable, present: Callable[[], torch.Tensor], background: Inputs) -> Mask:
        """The mask of `key`, or one made of present(), (a, c, P) bool, over (a, c, *shape) of background.

        One without a key (None) is not kept.
        """
        with self._lock:
            if key is not None and key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        made = self._make(present(), background)
        if key is not None and made.nbytes <= KEPT_BYTES:
            with self._lock:
                self._keep(key, made)
        return made

    def _make(self, present: torch.Tensor, background: Inputs) -> Mask:
        holes, base = {}, {}
        for name, index in self.players.membership.items():
            mask = present[..., index]
            base[name] = background[name].masked_fill(mask, 0)
            # Exact's coalitions come as (a, 1) over backgrounds of (1, c).
            holes[name] = mask.to(base[name].dtype).expand(base[name].shape).contiguous()
        return Mask(holes, base)

    def _keep(self, key: Hashable, made: Mask) -> None:
        if key in self._kept:
            return
        self._kept[key] = made
        self._bytes += made.nbytes
        while self._bytes > KEPT_BYTES:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
