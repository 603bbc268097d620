"""Which tensors of a network's answer are its outputs, and how a map becomes a few numbers per row.

The same code serves tensors of torch and symbolic tensors of Keras.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from whyserve.errors import InvalidInput, ModelFault
from whyserve.export.package.operations import Operations

REDUCTIONS = ("mean", "max", "min", "sum")
WAYS = (
    'reduce="mean", "max", "min" or "sum" over the positions, {"mean": region} over some of them (a mask or slices),'
    ' {"step": -1} for one of them, or "error" for the mean squared difference from the input'
)
# Objects in a network's answer are read as deep as this.
DEEPEST = 4


@dataclass(slots=True)
class OutputChoice:
    """The arguments `output` and `reduce` of `package`. heads: after a run, the name of each column of several heads.

    Raises InvalidInput if `reduce` is unknown.
    """

    output: Any = None
    reduce: Any = None
    heads: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        given = {} if self.reduce is None else {self.reduce: None} if isinstance(self.reduce, str) else self.reduce
        known = [key for key in given if key in (*REDUCTIONS, "step", "error")] if isinstance(given, Mapping) else []
        if given and (len(known) != 1 or set(given) - {known[0], "axes"}):
            raise InvalidInput(f"unknown reduce={self.reduce!r}; use {WAYS}")
        self.reduce = given

    def of(self, returned: Any, inputs: Mapping[str, Any], operations: Operations) -> Any:
        """The outputs, (rows,) or (rows, outputs). returned: the network's answer. inputs: its inputs by name.

        Raises ModelFault, InvalidInput.
        """
        if self.output is None and hasattr(returned, "to_tuple") and "logits" in returned:
            returned = returned["logits"]  # of a ModelOutput of transformers
        tensors = dict(_tensors(returned, operations))
        if not isinstance(self.output, list | tuple | Mapping):
            self.heads = ["error"] if "error" in self.reduce else []
            return self._numbers(_select(tensors, self.output), inputs, operations)
        named = self.output if isinstance(self.output, Mapping) else {str(each): each for each in self.output}
        parts = {name: self._numbers(_select(tensors, path), inputs, operations) for name, path in named.items()}
        parts = {name: part if len(part.shape) == 2 else operations.column(part) for name, part in parts.items()}
        widths = {name: int(part.shape[1]) for name, part in parts.items()}
        self.heads = [f"{n}[{i}]" if width > 1 else n for n, width in widths.items() for i in range(width)]
        return operations.join(list(parts.values()))

    def _numbers(self, x: Any, inputs: Mapping[str, Any], operations: Operations) -> Any:
        rows = next(iter(inputs.values())).shape[0]
        if not x.shape or (isinstance(x.shape[0], int) and isinstance(rows, int) and x.shape[0] != rows):
            raise ModelFault(
                f"the network returns shape {tuple(x.shape)} for {rows} rows; dimension 0 must be the rows, as in"
                " (rows, outputs)"
            )
        if len(x.shape) == 3 and "axes" not in self.reduce and "error" not in self.reduce:
            x = _squeezed(x, operations)
        if self.reduce:
            x = _reduced(x, self.reduce, inputs, operations)
        x = _squeezed(x, operations)
        if len(x.shape) > 2:
            raise ModelFault(
                f"the network returns {_shape(x)}, which is a map; say which numbers to predict and explain: {WAYS}"
            )
        return x


def _tensors(value: Any, operations: Operations, path: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """The tensors in a network's answer with their paths, such as "logits" or "heads.1"."""
    if isinstance(value, operations.tensor):
        yield path, value
        return
    if hasattr(value, "_asdict"):  # a named tuple
        value = value._asdict()
    if isinstance(value, list | tuple):
        value = dict(enumerate(value))
    elif not isinstance(value, Mapping):
        value = getattr(value, "__dict__", {})
    for key, part in value.items() if depth < DEEPEST else ():
        yield from _tensors(part, operations, f"{path}.{key}" if path else str(key), depth + 1)


def _select(tensors: Mapping[str, Any], path: str | int | None) -> Any:
    """One of the tensors: by its path, by the path of what holds it alone, or by its number."""
    found = [x for name, x in tensors.items() if path is None or f"{name}.".startswith(f"{path}.")]
    if not found and isinstance(path, int) and "" not in tensors and -len(tensors) <= path < len(tensors):
        found = [list(tensors.values())[path]]
    if len(found) == 1:
        return found[0]
    if not tensors:
        raise ModelFault("the network returns no tensor; one of shape (rows, outputs) is needed")
    asked = "" if path is None else f", and output={path!r} names {len(found) or 'none'} of them"
    if "" in tensors:
        raise ModelFault(f"the network returns one tensor of shape {_shape(tensors[''])}; leave output={path!r} out")
    listed = ", ".join(f'"{name}" {_shape(x)}' for name, x in tensors.items())
    name = next(iter(tensors))
    raise ModelFault(
        f"the network returns {len(tensors)} tensors{asked}: {listed}; choose one with"
        f' output="{name}", or several that belong together with output=["…", "…"]'
    )


def _squeezed(x: Any, operations: Operations) -> Any:
    """(rows, outputs, 1) and (rows, 1, outputs) → (rows, outputs)."""
    return operations.flatten(x, 1) if len(x.shape) > 2 and sum(size != 1 for size in x.shape[1:]) < 2 else x


def _reduced(x: Any, reduce: Mapping[str, Any], inputs: Mapping[str, Any], operations: Operations) -> Any:
    how = next(key for key in reduce if key != "axes")
    region = reduce[how]
    if how == "error":
        difference = (x - operations.cast(_input_like(x, region, inputs), x.dtype)) ** 2
        return operations.reduce("mean", operations.flatten(difference, 1), (1,))
    axes = tuple(reduce.get("axes") or _positions(x, inputs, channels_last=operations.channels_last))
    if not set(axes) <= set(range(1, len(x.shape))):
        raise InvalidInput(f"reduce: the output has shape {_shape(x)}; it has no axes {axes} of positions")
    if region is None:
        return operations.reduce(how, x, axes)
    places = _places(region, tuple(int(x.shape[axis]) for axis in axes))
    others = [axis for axis in range(len(x.shape)) if axis not in axes]
    x = operations.take(operations.flatten(operations.transpose(x, (*others, *axes)), len(others)), places)
    return x if how == "step" else operations.reduce(how, x, (len(others),))


def _input_like(x: Any, name: str | None, inputs: Mapping[str, Any]) -> Any:
    """The input that a reconstruction is compared with: the one named, or the only one of the same shape."""
    same = [each for each, given in inputs.items() if tuple(given.shape[1:]) == tuple(x.shape[1:])]
    if name in same or (name is None and len(same) == 1):
        return inputs[name or same[0]]
    shapes = ", ".join(f'"{each}" {_shape(given)}' for each, given in inputs.items())
    raise InvalidInput(
        f'reduce="error": the output has shape {_shape(x)}, the inputs {shapes}; name the input of the same shape,'
        ' as in {"error": "x"}'
    )


def _positions(x: Any, inputs: Mapping[str, Any], *, channels_last: bool) -> tuple[int, ...]:
    """The axes of the positions: steps of (rows, steps, outputs); height and width of an image's map."""
    count, first = len(x.shape), 1 if channels_last else 2
    images = [given for given in inputs.values() if len(given.shape) == 4]
    if count == 3 and any(tuple(image.shape[first : first + 2]) == tuple(x.shape[1:]) for image in images):
        return (1, 2)
    return (1,) if count < 4 else tuple(range(first, count - channels_last))


def _places(region: Any, sizes: tuple[int, ...]) -> list[int]:
    """The chosen positions, counted in row-major order. region: a step, a slice for each axis, or a mask."""
    chosen = np.zeros(sizes, bool)
    try:
        if isinstance(region, int | slice) or (isinstance(region, tuple) and isinstance(region[0], slice)):
            chosen[region] = True
        else:
            mask = np.asarray(region)
            chosen = mask.astype(bool) if mask.shape == sizes else chosen
    except IndexError:
        pass
    if not chosen.any():
        raise InvalidInput(
            f"reduce: the region holds no position; the positions of the output have shape {sizes}: give a mask of that"
            " shape, a slice for each axis, or a step"
        )
    return [int(place) for place in np.flatnonzero(chosen)]


def _shape(x: Any) -> str:
    return str(("rows", *x.shape[1:])).replace("'", "")
