"""Where whole numbers become real ones: embeddings, one-hot columns, casts. A gradient starts behind them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.game.base import Inputs
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players

# By the name of a function: torch.embedding, F.embedding and aten.embedding are one.
_WIDENING = {"embedding", "one_hot"}
_PLACING = {
    "__getitem__", "select", "slice", "narrow", "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze",
    "unsqueeze", "transpose", "permute", "t", "movedim", "swapaxes", "expand", "expand_as", "broadcast_to", "unbind",
    "split", "split_with_sizes", "chunk", "clone", "contiguous", "detach", "alias", "flip", "roll", "repeat", "index",
}  # fmt: skip
_POINTWISE = {
    "to", "_to_copy", "type", "float", "double", "half", "long", "int", "bool", "convert_element_type", "add", "sub",
    "rsub", "mul", "div", "true_divide", "floor_divide", "remainder", "clamp", "clamp_min", "clamp_max", "abs", "neg",
    "eq", "ne", "not_equal", "lt", "le", "gt", "ge", "logical_not", "bitwise_not", "__add__", "__radd__",
    "__sub__", "__rsub__",
    "__mul__", "__rmul__", "__truediv__", "__floordiv__", "__mod__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__",
    "__ge__", "__invert__", "where", "maximum", "minimum",
}  # fmt: skip
# What they give depends on a shape alone.
_LIKE = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}


@dataclass(slots=True)
class Lookup:
    """Real numbers made of whole ones. values: (rows, …). players: of the same shape, whose each number is."""

    values: torch.Tensor
    players: torch.Tensor


@dataclass
class Lookups(TorchFunctionMode):
    """Watches a forward pass: notes every lookup, or puts `instead` in their place, in order.

    inputs: the network's whole-number inputs, (rows, *shape). Raises UnsupportedNetwork where what comes of them
    reaches a function through which no gradient and no player can be followed, and names both.
    """

    inputs: Inputs
    membership: Mapping[str, torch.Tensor]
    instead: list[torch.Tensor] | None = None
    seen: list[Lookup] = field(default_factory=list)
    fault: str | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self._players: dict[int, torch.Tensor] = {}
        self._held: list[torch.Tensor] = []  # an id is a tensor's own only while it lives
        for name, x in self.inputs.items():
            self._follow(x, self.membership[name].expand(x.shape))

    def _follow(self, x: torch.Tensor, players: torch.Tensor) -> None:
        self._players[id(x)] = players
        self._held.append(x)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        followed = [x for x in tree_leaves((args, kwargs)) if id(x) in self._players]
        out = func(*args, **kwargs)
        # A packet's overload is called aten::add.Tensor, or add.Tensor; an in-place function ends with a line.
        name = getattr(func, "__name__", str(func)).split("::")[-1].split(".")[0]
        name = name if name.startswith("__") else name.removesuffix("_")
        if not followed or name in _LIKE or not any(isinstance(x, torch.Tensor) for x in tree_leaves(out)):
            return out
        players = self._of(
            name, followed, out, lambda: func(*tree_map(self._swap, args), **tree_map(self._swap, kwargs))
        )
        if isinstance(out, torch.Tensor) and out.is_floating_point():
            return self._look_up(out, players)
        for made, whose in zip(tree_leaves(out), tree_leaves(players), strict=True):
            self._follow(made, whose)
        return out

    def _of(self, name: str, followed: list[torch.Tensor], out: Any, on_players: Callable[[], Any]) -> Any:
        """The players of what the function of this name gave."""
        whose = [self._players[id(x)] for x in followed]
        if name in _WIDENING and len(whose) == 1:
            return whose[0].unsqueeze(-1).expand(out.shape)
        if name in _PLACING and len(whose) == 1:
            return on_players()
        # Two at once where one came of the other, as in where(x < 0, x + size, x).
        if name in _POINTWISE and all(x.shape == whose[0].shape and torch.equal(x, whose[0]) for x in whose):
            return whose[0].expand(out.shape)
        raise self._stop(f"whole-number inputs reach {name}, through which no gradient passes")

    def _stop(self, fault: str) -> UnsupportedNetwork:
        # Keras wraps what is raised inside it.
        self.fault = fault
        return UnsupportedNetwork(fault)

    def _swap(self, x: Any) -> Any:
        return self._players.get(id(x), x)

    def _look_up(self, out: torch.Tensor, players: torch.Tensor) -> torch.Tensor:
        rows = next(iter(self.inputs.values())).shape[0]
        if out.ndim == 0 or out.shape[0] != rows:
            raise self._stop("whole-number inputs are looked up with rows not first, and cannot be followed")
        self.seen.append(Lookup(out, players))
        return out if self.instead is None else self.instead[len(self.seen) - 1]


def look_up(network: Network, inputs: Inputs, players: Players) -> list[Lookup]:
    """What the whole-number inputs of a batch become, in the order in which the network looks it up."""
    whole = {name: x for name, x in inputs.items() if not x.is_floating_point()}
    if not whole:
        return []
    watch = Lookups(whole, players.membership)
    try:
        with torch.no_grad(), watch:
            network(inputs)
    except Exception as error:
        if watch.fault is None:
            raise
        raise UnsupportedNetwork(watch.fault) from error
    return watch.seen
