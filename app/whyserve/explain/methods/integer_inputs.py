"""Embedding and index lookups: an integer's attribution is the sum over its embedding vector.

No gradient passes through an integer. This module therefore finds the operations that convert integer inputs to
floating point (an embedding, a one-hot encoding, a cast), and records which player each of their elements belongs to.
A gradient method then starts at the results of these operations. To find them, the players are sent along: the same
indexing operations that the network applies to its integers are applied to their player numbers.
"""

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

# Functions by name: torch.embedding, F.embedding and aten.embedding have the same rule.
# These add one dimension, which belongs to the player of the integer.
_LOOKUP = {"embedding", "one_hot"}
# These rearrange elements. The player numbers are rearranged by the same call.
_INDEXING = {
    "__getitem__", "select", "slice", "narrow", "view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze",
    "unsqueeze", "transpose", "permute", "t", "movedim", "swapaxes", "expand", "expand_as", "broadcast_to", "unbind",
    "split", "split_with_sizes", "chunk", "clone", "contiguous", "detach", "alias", "flip", "roll", "repeat", "index",
}  # fmt: skip
# These keep the shape. The result has the players of the arguments.
_ELEMENTWISE = {
    "to", "_to_copy", "type", "float", "double", "half", "long", "int", "bool", "convert_element_type", "add", "sub",
    "rsub", "mul", "div", "true_divide", "floor_divide", "remainder", "clamp", "clamp_min", "clamp_max", "abs", "neg",
    "eq", "ne", "not_equal", "lt", "le", "gt", "ge", "logical_not", "bitwise_not", "__add__", "__radd__",
    "__sub__", "__rsub__",
    "__mul__", "__rmul__", "__truediv__", "__floordiv__", "__mod__", "__eq__", "__ne__", "__lt__", "__le__", "__gt__",
    "__ge__", "__invert__", "where", "maximum", "minimum",
}  # fmt: skip
# The result of these depends on a shape only, and on no player.
_CONSTANT = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}


@dataclass(slots=True)
class Lookup:
    """The first floating-point values that the network computes from integer inputs.

    values: (rows, …). players: the player of each element, in the same shape.
    """

    values: torch.Tensor
    players: torch.Tensor


@dataclass
class Lookups(TorchFunctionMode):
    """Records every lookup of a forward pass in `found`, or replaces the lookups with `replacements`, in order.

    inputs: the network's integer inputs, (rows, *shape). membership: the players of their elements, (*shape).
    error: the message, if the forward pass failed here.
    Raises UnsupportedNetwork if an integer reaches a function without a rule; the message names the function.
    """

    inputs: Inputs
    membership: Mapping[str, torch.Tensor]
    replacements: list[torch.Tensor] | None = None
    found: list[Lookup] = field(default_factory=list)
    error: str | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self._players: dict[int, torch.Tensor] = {}
        self._references: list[torch.Tensor] = []  # Python may reuse the id of a tensor that was freed
        for name, x in self.inputs.items():
            self._follow(x, self.membership[name].expand(x.shape))

    def _follow(self, x: torch.Tensor, players: torch.Tensor) -> None:
        self._players[id(x)] = players
        self._references.append(x)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        followed = [x for x in tree_leaves((args, kwargs)) if id(x) in self._players]
        out = func(*args, **kwargs)
        # An overload is named aten::add.Tensor or add.Tensor. The name of an in-place function ends with "_".
        name = getattr(func, "__name__", str(func)).split("::")[-1].split(".")[0]
        name = name if name.startswith("__") else name.removesuffix("_")
        if not followed or name in _CONSTANT or not any(isinstance(x, torch.Tensor) for x in tree_leaves(out)):
            return out
        players = self._players_of(
            name, followed, out, lambda: func(*tree_map(self._to_players, args), **tree_map(self._to_players, kwargs))
        )
        if isinstance(out, torch.Tensor) and out.is_floating_point():
            return self._look_up(out, players)
        for result, its_players in zip(tree_leaves(out), tree_leaves(players), strict=True):
            self._follow(result, its_players)
        return out

    def _players_of(self, name: str, followed: list[torch.Tensor], out: Any, on_players: Callable[[], Any]) -> Any:
        """The players of the result of one function. on_players: calls it with player numbers as arguments."""
        players = [self._players[id(x)] for x in followed]
        if name in _LOOKUP and len(players) == 1:
            return players[0].unsqueeze(-1).expand(out.shape)
        if name in _INDEXING and len(players) == 1:
            return on_players()
        # Several arguments are allowed if they have the same players, as in where(x < 0, x + size, x).
        if name in _ELEMENTWISE and all(x.shape == players[0].shape and torch.equal(x, players[0]) for x in players):
            return players[0].expand(out.shape)
        raise self._fail(f"integer inputs reach {name}, and no gradient passes through it")

    def _fail(self, message: str) -> UnsupportedNetwork:
        # Keras wraps every exception that is raised inside it, so the message is also kept here.
        self.error = message
        return UnsupportedNetwork(message)

    def _to_players(self, x: Any) -> Any:
        return self._players.get(id(x), x)

    def _look_up(self, out: torch.Tensor, players: torch.Tensor) -> torch.Tensor:
        rows = next(iter(self.inputs.values())).shape[0]
        if out.ndim == 0 or out.shape[0] != rows:
            raise self._fail("the result of an integer lookup does not have the rows as its first dimension")
        self.found.append(Lookup(out, players))
        return out if self.replacements is None else self.replacements[len(self.found) - 1]


def look_up(network: Network, inputs: Inputs, players: Players) -> list[Lookup]:
    """The lookups of the integer inputs of a batch, in the order of the network's calls.

    Raises UnsupportedNetwork as Lookups does.
    """
    integers = {name: x for name, x in inputs.items() if not x.is_floating_point()}
    if not integers:
        return []
    lookups = Lookups(integers, players.membership)
    try:
        with torch.no_grad(), lookups:
            network(inputs)
    except Exception as error:
        if lookups.error is None:
            raise
        raise UnsupportedNetwork(lookups.error) from error
    return lookups.found
