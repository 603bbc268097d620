"""A case of the zoo: the constructor of a network, its inputs and its players."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import keras
import torch
from torch import nn

from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players


@dataclass(frozen=True)
class Spec:
    """One input: its shape without rows; normal random numbers, or integers in [0, high) if high is given."""

    shape: tuple[int, ...]
    high: int | None = None

    def draw(self, rows: int, generator: torch.Generator, dtype: torch.dtype) -> torch.Tensor:
        """(rows, *shape) of random numbers."""
        if self.high is not None:
            return torch.randint(self.high, (rows, *self.shape), generator=generator)
        return 1.5 * torch.randn(rows, *self.shape, generator=generator).to(dtype)


@dataclass(frozen=True)
class Case:
    """One network of the zoo.

    membership: by input, the player of each element; by default, every element is a player.
    kind: of the outputs: values, logits or probabilities.
    data: real data instead of random numbers: (background rows, explained rows) → both.
    keras: whether Keras builds the network.
    """

    name: str
    build: Callable[[], nn.Module]
    inputs: Mapping[str, Spec]
    membership: Mapping[str, torch.Tensor] | None = None
    kind: str = "values"
    data: Callable[[int, int], tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]] | None = None
    keras: bool = False
    seed: int = field(default=0)

    def __str__(self) -> str:
        return self.name

    @property
    def players(self) -> Players:
        """The players of `membership`, or one player per element."""
        if self.membership is None:
            return Players.elements({name: spec.shape for name, spec in self.inputs.items()})
        return Players(1 + max(int(m.max()) for m in self.membership.values()), self.membership)

    @property
    def few(self) -> bool:
        """Whether the case has at most ten players, so that exact enumeration is fast."""
        return self.players.count <= 10

    def network(self, dtype: torch.dtype = torch.float32) -> Network:
        """A new network with the case's seed, in eval mode."""
        torch.manual_seed(self.seed)
        with keras_floats(dtype):
            module = self.build()
        return Network(module.to(dtype).eval(), tuple(self.inputs))

    def rows(
        self, background: int = 8, rows: int = 3, dtype: torch.dtype = torch.float32
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The background and the rows to explain, equal in every call."""
        if self.data is not None:
            both = self.data(background, rows)
            return {n: x.to(dtype) for n, x in both[0].items()}, {n: x.to(dtype) for n, x in both[1].items()}
        generator = torch.Generator().manual_seed(1000 + self.seed)
        drawn = {name: spec.draw(background + rows, generator, dtype) for name, spec in self.inputs.items()}
        return {n: x[:background] for n, x in drawn.items()}, {n: x[background:] for n, x in drawn.items()}


@contextmanager
def keras_floats(dtype: torch.dtype) -> Iterator[None]:
    """Make Keras build and call networks in this dtype."""
    before, wanted = keras.config.floatx(), str(dtype).removeprefix("torch.")
    keras.config.set_floatx(wanted)
    keras.config.set_dtype_policy(wanted)
    try:
        yield
    finally:
        keras.config.set_floatx(before)
        keras.config.set_dtype_policy(before)


def features(*shape: int) -> dict[str, Spec]:
    """One input x of normal random numbers."""
    return {"x": Spec(shape)}


def by_axis(shape: tuple[int, ...], axis: int = 0, groups: int | None = None) -> dict[str, torch.Tensor]:
    """Players of input x: one per position along `axis`, or `groups` equal parts of the axis."""
    size = shape[axis]
    number = torch.arange(size) if groups is None else torch.arange(size) * groups // size
    view = [1] * len(shape)
    view[axis] = size
    return {"x": number.view(view).expand(shape).contiguous()}


def by_patch(channels: int, height: int, width: int, patch: int) -> dict[str, torch.Tensor]:
    """Players of an image x, channels first: one per square patch."""
    rows, columns = torch.arange(height)[:, None] // patch, torch.arange(width) // patch
    number = rows * (-(-width // patch)) + columns
    return {"x": number.expand(channels, height, width).contiguous()}


class Lambda(nn.Module):
    """A network from a function, with modules that the function may use by name."""

    def __init__(self, function: Callable[..., torch.Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        return self.function(self, *inputs)
