"""The first linear layer of a plain network, by differences: cheaper rows for coalitions and their complements.

The layer's values for a mix are those of the background row, plus the change of each member. They need no scaled row,
and those of the complement follow by one subtraction. Scaling before the layer and batch norm after it are part of it.
"""

from collections import Counter
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any

import torch

from whyserve.explain.game.base import Inputs
from whyserve.explain.game.masking import as_bits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.graph.program import Program, Ref, Step

SYMMETRIC = {"aten.add", "aten.sub", "aten.mul"}
PRODUCTS = {"aten.mm", "aten.addmm"}
NORM = {"aten._native_batch_norm_legit_no_training", "getitem"}
LINEAR = SYMMETRIC | PRODUCTS | NORM | {"aten.div", "aten.view", "aten.clone", "aten.alias"}
# Operations that a trace does not take apart. A trace with others may be slower than the network itself.
ACTIVATIONS = "relu tanh sigmoid gelu elu leaky_relu hardtanh clamp _softmax _log_softmax"
PLAIN = LINEAR | {f"aten.{name}" for name in ACTIVATIONS.split()}
# With at least so many columns, torch computes a softmax faster by rows …
ROW_WIDTH = 16
# … and a product.
PRODUCT_WIDTH = 32
# The name of the input of the rest of the network.
HIDDEN = "hidden"


class FirstLayer:
    """A network in two parts, for one background.

    weight: (elements, H), the layer's change per change of an input's element. hidden: (B, H), the layer's values at
    the background. rest: the network behind the layer; its input is HIDDEN, (rows, H).
    """

    def __init__(self, program: Program, count: int, network: Network, background: Inputs, players: Players) -> None:
        """count: the number of the program's first steps that are the layer, as linear_steps returns it."""
        self.program, self.name = program, network.names[0]
        self.first, self.behind = program.live[:count], quick_steps(program, program.live[count:])
        self.rest = replace(network, names=(HIDDEN,), run=self._rest)
        source, width = program.inputs[0], program.dims[self.first[-1].slot].multiples[1]
        x = torch.zeros(program.dims[source].at(width), dtype=program.dtypes[source], requires_grad=True)
        with torch.enable_grad():
            (weight,) = torch.autograd.grad(self._layer(x).diagonal().sum(), x)
        self.weight = weight.flatten(1).T.contiguous()
        self._set_game(background, players)

    def again(self, background: Inputs, players: Players) -> "FirstLayer":
        """The same network with another background and other players."""
        other = copy(self)
        other._set_game(background, players)
        return other

    def _set_game(self, background: Inputs, players: Players) -> None:
        self.players, self.background = players, background[self.name]
        with torch.no_grad():
            self.hidden = self._layer(self.background)

    def mixer(self, row: Inputs) -> Callable[[torch.Tensor, torch.Tensor], dict[str, torch.Tensor]]:
        """As PairMixer.mix, behind the first layer. row: (1, *shape) per input."""
        change, index = (row[self.name] - self.background).flatten(1), self.players.membership[self.name].flatten()
        total = self.hidden + torch.addmm(self.hidden[:1], change[:1], self.weight)
        bits = as_bits(change)

        def mix(present: torch.Tensor, rows: torch.Tensor) -> dict[str, torch.Tensor]:
            mask = present if self.players.alone else present.index_select(1, index)
            # All bits or none: a change of 0 has no bits.
            changed = bits.index_select(0, rows).bitwise_and_(mask.to(bits.dtype)).view(change.dtype)
            both = total.new_empty(2 * len(rows), total.shape[1])
            one, other = both.chunk(2)
            torch.index_select(self.hidden, 0, rows, out=one).addmm_(changed, self.weight)
            torch.index_select(total, 0, rows, out=other).sub_(one)
            return {HIDDEN: both}

        return mix

    def _layer(self, x: torch.Tensor) -> torch.Tensor:
        """(rows, H)"""
        result: torch.Tensor = self._run(self.first, self.program.inputs[0], x, self.first[-1].slot)
        return result

    def _rest(self, hidden: torch.Tensor) -> Any:
        return self._run(self.behind, self.first[-1].slot, hidden, self.program.output)

    def _run(self, steps: tuple[Step, ...], source: int, x: torch.Tensor, output: int) -> Any:
        values = self.program.fixed_values(len(x))
        values[source] = x
        for step in steps:
            values[step.slot] = step.run(values)
        return values[output]


def quick_steps(program: Program, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The same steps, faster for many rows. A relu overwrites what only it reads."""
    read, quick = Counter(slot for step in program.live for slot in step.live), []
    new = {step.slot for step in program.live if step.name in PRODUCTS} | {program.live[-len(steps) - 1].slot}
    for step in steps:
        if step.name == "aten.relu" and step.live[0] in new and read[step.live[0]] == 1:
            quick.append(replace(step, op=torch.relu_))
        else:
            quick.append(product_by_columns(step, program) if step.name in PRODUCTS else by_columns(step))
    return tuple(quick)


def product_by_columns(step: Step, program: Program) -> Step:
    """A product with few columns computes columns, not rows: it is two to six times faster."""
    constants = [program.constants.get(part.slot) for part in step.args if isinstance(part, Ref)]
    bias, weight = constants[0] if step.name == "aten.addmm" else None, constants[-1]
    if (
        weight is None
        or weight.shape[1] >= PRODUCT_WIDTH
        or step.kwargs
        or (step.name == "aten.addmm" and bias is None)
    ):
        return step
    rows, start = weight.T.contiguous(), None if bias is None else bias.reshape(-1, 1)

    def run(*args: torch.Tensor) -> torch.Tensor:
        x = args[-2].T
        return (rows @ x if start is None else torch.addmm(start, rows, x)).T

    return replace(step, op=run)


def by_columns(step: Step) -> Step:
    """A softmax of few columns works on columns, not on rows: torch is up to ten times faster with those."""
    if step.name not in {"aten._softmax", "aten._log_softmax"}:
        return step

    def run(x: torch.Tensor, dim: int, *more: bool) -> Any:
        few = x.ndim == 2 and dim % 2 == 1 and x.shape[1] < ROW_WIDTH
        return step.op(x.T, 0, *more).T if few else step.op(x, dim, *more)

    return replace(step, op=run)


def linear_steps(program: Program) -> int:
    """The number of first steps up to the last linear one after the first product; 0 if the network is another one."""
    at, count, has_product, before, seen = program.inputs[0], 0, False, set[int](), frozenset[int]()
    if len(program.inputs) > 1 or not program.tracked or not program.dtypes[at].is_floating_point:
        return 0
    for number, step in enumerate(program.live, 1):
        scaled = step.args[-2 if step.name in PRODUCTS else 0]
        is_linear = step.name in LINEAR and not step.kwargs and sum(map(step.is_live, step.args)) == 1
        if not is_linear or step.live != (at,) or not (step.is_live(scaled) or step.name in SYMMETRIC):
            break
        before.add(at)
        at, has_product = step.slot, has_product or step.name in PRODUCTS
        dims = program.dims.get(at)
        if has_product and dims is not None and dims.batch == 0 and dims.multiples[0] == 1 and len(dims.multiples) == 2:
            count, seen = number, frozenset(before)
    is_plain = all(step.name in PLAIN and not seen.intersection(step.live) for step in program.live[count:])
    return count if is_plain else 0
