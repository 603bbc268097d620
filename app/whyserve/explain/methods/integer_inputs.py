"""Embedding and index lookups: an integer's attribution is the sum over its embedding vector.

No gradient passes through an integer or a boolean. This module therefore finds the operations that convert such inputs
to floating point (an embedding, a one-hot encoding, a cast), and records which player each of their elements belongs
to. A gradient method then starts at the results of these operations. To find them, the players are sent along: the same
indexing operations that the network applies to its integers are applied to their player numbers.
"""

from collections.abc import Callable, Iterable, Mapping
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
# These also take a number that depends on the input. The gradient then starts at the integer itself, as a number.
_ARITHMETIC = {
    "add", "sub", "rsub", "mul", "div", "true_divide", "__add__", "__radd__", "__sub__", "__rsub__", "__mul__",
    "__rmul__", "__truediv__", "__rtruediv__",
}  # fmt: skip
# These choose by a boolean: where(condition, a, b) and masked_fill(b, condition, a).
_CHOICES = {"where", "masked_fill"}
# The result of these depends on a shape only, and on no player.
_CONSTANT = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}


# An attribute of each tensor that depends on floating-point inputs or on lookups.
_DEPENDS = "_whyserve_depends"


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

    inputs: the network's integer and boolean inputs, (rows, *shape). membership: the players of their elements,
    (*shape). numbers: the floating-point inputs of this pass; they are marked.
    error: the message, if the forward pass failed here.
    Raises UnsupportedNetwork if an integer reaches a function without a rule; the message names the function.
    """

    inputs: Inputs
    membership: Mapping[str, torch.Tensor]
    numbers: Iterable[torch.Tensor] = ()
    replacements: list[torch.Tensor] | None = None
    found: list[Lookup] = field(default_factory=list)
    error: str | None = None

    def __post_init__(self) -> None:
        super().__init__()
        self._players: dict[int, torch.Tensor] = {}
        self._references: list[torch.Tensor] = []  # Python may reuse the id of a tensor that was freed
        for name, x in self.inputs.items():
            self._follow(x, self.membership[name].expand(x.shape))
        for x in self.numbers:
            setattr(x, _DEPENDS, True)

    def _follow(self, x: torch.Tensor, players: torch.Tensor) -> None:
        self._players[id(x)] = players
        self._references.append(x)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = tree_leaves((args, kwargs))
        followed = [x for x in given if id(x) in self._players]
        depends = any(getattr(x, _DEPENDS, False) for x in given)
        out = func(*args, **kwargs)
        # An overload is named aten::add.Tensor or add.Tensor. The name of an in-place function ends with "_".
        name = getattr(func, "__name__", str(func)).split("::")[-1].split(".")[0]
        name = name if name.startswith("__") else name.removesuffix("_")
        results = [x for x in tree_leaves(out) if isinstance(x, torch.Tensor)]
        if not followed or name in _CONSTANT or not results:
            return self._mark(out) if depends and name not in _CONSTANT else out
        if depends:
            return self._mark(self._meeting(func, name, args, kwargs, out))
        players = self._players_of(
            name, followed, out, lambda: func(*tree_map(self._to_players, args), **tree_map(self._to_players, kwargs))
        )
        if isinstance(out, torch.Tensor) and out.is_floating_point():
            return self._look_up(out, players)
        for result, its_players in zip(tree_leaves(out), tree_leaves(players), strict=True):
            self._follow(result, its_players)
        return out

    def _meeting(self, func: Any, name: str, args: Any, kwargs: Any, out: Any) -> Any:
        """The result of a function of integers and of numbers that depend on the input: the integers become numbers.

        A boolean c becomes the number c in where(c, a, b) = c a + (1 − c) b.
        """
        chosen = name in _CHOICES and isinstance(out, torch.Tensor) and len(args) == 3
        if not (name in _ARITHMETIC or chosen) or not out.is_floating_point():
            raise self._fail(f"integer or boolean inputs meet numbers in {name}, and no gradient passes through it")
        args, kwargs = tree_map(lambda x: self._as_number(x, out), (args, kwargs))
        if not chosen:
            return func(*args, **kwargs)
        condition, a, b = args if name == "where" else (args[1], args[2], args[0])
        return condition * a + (1 - condition) * b if condition.is_floating_point() else func(*args, **kwargs)

    def _as_number(self, x: Any, like: torch.Tensor) -> Any:
        return self._look_up(x.to(like.dtype), self._players[id(x)]) if id(x) in self._players else x

    @staticmethod
    def _mark(out: Any) -> Any:
        for x in tree_leaves(out):
            if isinstance(x, torch.Tensor):
                setattr(x, _DEPENDS, True)
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
        result = out if self.replacements is None else self.replacements[len(self.found) - 1]
        self._mark(result)
        return result


def look_up(network: Network, inputs: Inputs, players: Players) -> list[Lookup]:
    """The lookups of the integer inputs of a batch, in the order of the network's calls.

    Raises UnsupportedNetwork as Lookups does.
    """
    integers = {name: x for name, x in inputs.items() if not x.is_floating_point()}
    if not integers:
        return []
    numbers = {name: x.detach() for name, x in inputs.items() if x.is_floating_point()}
    lookups = Lookups(integers, players.membership, numbers.values())
    try:
        with torch.no_grad(), lookups:
            network({**integers, **numbers})
    except Exception as error:
        if lookups.error is None:
            raise
        raise UnsupportedNetwork(lookups.error) from error
    return lookups.found
