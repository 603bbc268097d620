"""Fast mixed rows: the background's share of every mix is computed once and cached between calls."""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from threading import Lock
from typing import Generic, TypeVar

import torch

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.players import Players

KEPT_BYTES = 64 << 20
# The integer type of each size in bytes.
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
# An input with fewer elements is repeated along the coalitions first: torch broadcasts short rows slowly.
SHORT_ROW = 256


@dataclass(frozen=True, slots=True)
class Mask:
    """a · c mixes of one explained row with background rows, before the row itself is known.

    present: by input, (a, c, *shape) in the input's dtype: 1 for an element from the explained row, otherwise 0.
    base: by input, (a, c, *shape): the background's elements, and 0 where `present` is 1.
    """

    present: Mapping[str, torch.Tensor]
    base: Mapping[str, torch.Tensor]

    def fill(self, rows: Inputs) -> dict[str, torch.Tensor]:
        """The mixes of r explained rows: (r · a · c, *shape) per input."""
        mixed = {}
        for name, present in self.present.items():
            row, count = rows[name], present.shape[1]
            repeated = row[:, None, None]
            if row[0].numel() < SHORT_ROW:
                repeated = repeated.expand(-1, -1, count, *row.shape[1:]).contiguous()
            if row.dtype is torch.bool:
                mixed[name] = (self.base[name] | present & repeated).flatten(0, 2)
                continue
            if row.is_floating_point() and row.sum().isnan():
                mixed[name] = torch.where(present > 0, repeated, self.base[name]).flatten(0, 2)  # 0 · NaN is NaN
                continue
            # base + present · row is exact: one factor is 0 or 1, and one term is 0. torch.where takes four times as
            # long.
            mixed[name] = torch.addcmul(self.base[name], present, repeated).flatten(0, 2)
        return mixed

    @property
    def shape(self) -> tuple[int, int]:
        """(a, c)"""
        a, c = next(iter(self.base.values())).shape[:2]
        return a, c

    @property
    def nbytes(self) -> int:
        return sum(x.nbytes for part in (self.present, self.base) for x in part.values())


def mask_of(players: Players, present: torch.Tensor, background: Inputs) -> Mask:
    """The mask of coalitions, (a, c, P) bool, and background rows, (a, c, *shape) per input."""
    by_element, base = {}, {}
    for name, index in players.membership.items():
        mask = present[..., index]
        base[name] = background[name].masked_fill(mask, 0)
        # The coalitions of background_means are (a, 1, P), and its background is (1, c, *shape).
        by_element[name] = mask.to(base[name].dtype).expand(base[name].shape).contiguous()
    return Mask(by_element, base)


class PairMixer:
    """Mixes of one explained row with background rows, for coalitions and their complements."""

    def __init__(self, players: Players, row: Inputs, background: Inputs) -> None:
        """row: (1, *shape) per input. background: (B, *shape)."""
        self.players, self.background = players, background
        # The bits in which the row differs. Bits are exact for every number, NaN too.
        self._bits = {name: as_bits(x) for name, x in background.items()}
        self._change = {name: x ^ as_bits(row[name]) for name, x in self._bits.items()}

    def mix(self, present: torch.Tensor, rows: torch.Tensor) -> dict[str, torch.Tensor]:
        """The mixes of n coalitions and then those of their complements: (2n, *shape) per input.

        present: (n, P) int32: −1, all bits, for a member, otherwise 0. rows: (n,): the background row of each.
        """
        mixed = {}
        for name, index in self.players.membership.items():
            mask = present if name == self.players.alone else present.index_select(1, index.flatten())
            change = self._change[name].index_select(0, rows)
            base = self._bits[name].index_select(0, rows)
            both = base.new_empty(2 * len(rows), *index.shape)
            one, other = both.chunk(2)
            torch.bitwise_xor(base, mask.reshape(base.shape).to(base.dtype) & change, out=one)
            torch.bitwise_xor(one, change, out=other)
            mixed[name] = both.view(self.background[name].dtype)
        return mixed


def as_bits(x: torch.Tensor) -> torch.Tensor:
    """The same memory as integers."""
    return x.view(BITS[x.dtype.itemsize])


T = TypeVar("T")


class Kept(Generic[T]):
    """A cache by key: the most recently used values, whose sizes together are at most `most`. Thread-safe."""

    def __init__(self, most: float = KEPT_BYTES, size: Callable[[T], float] = attrgetter("nbytes")) -> None:
        self._most, self._size = most, size
        self._kept: OrderedDict[Hashable, T] = OrderedDict()
        self._held = 0.0
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The cached value of `key`, or a new one. A value with the key None is not cached."""
        with self._lock:
            if key is not None and key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        value = make()
        with self._lock:
            if key is not None and key not in self._kept and self._size(value) <= self._most:
                self._kept[key] = value
                self._held += self._size(value)
                while self._held > self._most:
                    self._held -= self._size(self._kept.popitem(last=False)[1])
        return value
