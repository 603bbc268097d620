"""An exception of a framework → one line that says what is wrong, where, and what to do."""

import linecache
import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from whyserve.errors import ModelFault, first_line
from whyserve.model.rows import Arrays, row_count

# The names of the wrappers around the caller's network.
OURS = re.compile(r"^((module|network)\.?)+")
WHOLE_BATCH = (
    "write operations over all rows at once, without a loop over rows, and take the number of rows from x.shape[0]"
)
COUNT = r"Constraints violated|specialized|ConstraintViolation|marked batch as dynamic|L\['.*'\]\.size|shape '\["
# By a pattern in the type and message of an error of torch.export: the reason, and what to do.
UNTRACEABLE = (
    (r"vmap|functorch|'constant'", "it uses torch.vmap or torch.func; write the same with operations over all rows"),
    (r"\.numpy\(\)|numpy\.|__array__", "it leaves torch for NumPy; use operations of torch instead"),
    (COUNT, f"its code depends on the number of rows; {WHOLE_BATCH}"),
    (
        r"GuardOnDataDependent|data-dependent|DataDependent|SymBool|SymFloat|_local_scalar_dense|\bu\d+\b",
        "its code depends on the values of the rows (an if, a size or a Python number from a tensor); use torch.where,"
        " or multiply by a mask",
    ),
    (
        r"fake tensor|FakeTensor|meta kernel|Unsupported ?Operator|Could not run|NotImplementedError",
        "torch.export does not know the shape of this operator's result; use operations of torch instead",
    ),
)
# By a pattern in the message of an error on the background: what to do.
ON_BACKGROUND = (
    (r"index out of range", "an id is beyond the last entry of the table; give ids from 0 to its size minus 1"),
    (r"indices' to have|Expected .*(Long|Int)", "give integers (dtype int64) for this input"),
    (r"CUDA|cuda|same device|mps", "the network chooses a device by itself; use the device of its input, x.device"),
    (
        r"shapes? cannot be multiplied|to have \d+ channels|must be equal to input_size|input_size|size of tensor|"
        r"Dimension out of range|Expected \d+[Dd]|normalized_shape|is invalid for input of size|incompatible",
        "give the background in the shape that the network was trained with, rows first",
    ),
)


def network_failed(error: Exception, network: Any, arrays: Arrays) -> str:
    """The message for a network that fails on its background, with the shapes and the layer that failed."""
    given = " and ".join(f'shape {array.shape} of {array.dtype} for input "{name}"' for name, array in arrays.items())
    name, layer, taken = _failing_layer(error, getattr(network, "module", None))
    shape: tuple[int, ...] = getattr(taken, "shape", ())
    where = f', in layer "{name}: {" ".join(repr(layer).split())[:120]}' if name else ""
    where += '"' if name and not shape else f' on shape {tuple(shape)}"' if name else ""
    hint = next((words for pattern, words in ON_BACKGROUND if re.search(pattern, _plain(error))), None)
    if len(shape) == 4 and getattr(layer, "in_channels", None) == shape[-1]:
        hint = "its channels come first: transpose the background, array.transpose(0, 3, 1, 2)"
    words = f"the network fails on the background (with {given}){where}: {_cause(error)}"
    return f"{words}; {hint or f'{_place(error)}correct the network or the background'}"


def depends_on_count(error: BaseException) -> bool:
    """Whether torch.export failed because the code depends on the number of rows."""
    return re.search(COUNT, f"{type(error).__name__} {_plain(error)}") is not None


def untraceable(error: BaseException) -> str:
    """The message for a network that torch.export cannot trace, with the line of its code if it is known."""
    said = f"{type(error).__name__} {_plain(error)}"
    reason = next((words for pattern, words in UNTRACEABLE if re.search(pattern, said)), None)
    if reason is None:
        reason = f"{first_line(error)}; use operations of torch instead, which torch.export.export accepts"
    return f"torch.export cannot trace the network for any number of rows: {_place(error)}{reason}"


def check_table(run: Callable[[Arrays], Any], arrays: Arrays, table: Any) -> Any:
    """Raises ModelFault for an output that is no scores, for another number of rows, and if one row alone fails.

    run: the network, which gave `table` for `arrays`. Returns the output for the first row alone.
    """
    rows, first = row_count(arrays), {name: array[:1] for name, array in arrays.items()}
    dtype = str(np.asarray(table).dtype)
    if np.ndim(table) == 0 or len(table) != rows:
        raise ModelFault(
            f"the network returns shape {np.shape(table)} for {rows} rows; (rows, outputs) is needed, so do not take a"
            " mean or sum over dimension 0, the rows"
        )
    if "float" not in dtype:
        raise ModelFault(
            f"the network returns {dtype}; scores in floating point are needed: return what it computes before argmax,"
            " a comparison or a cast"
        )
    try:
        alone = run(first)
    except Exception as error:
        raise ModelFault(
            f"the network takes {rows} rows but not one row alone: {_cause(error)}; {WHOLE_BATCH}"
        ) from error
    if np.shape(alone) != (1, *np.shape(table)[1:]):
        raise ModelFault(
            f"the network returns shape {np.shape(alone)} for one row and {np.shape(table)} for {rows} rows;"
            " squeeze the last dimension only (squeeze(-1)), so that dimension 0 stays the rows"
        )
    return alone


def _plain(error: BaseException) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error))


def _cause(error: BaseException) -> str:
    """The message of a framework. A message of Keras starts with the place of the call; the cause comes later."""
    lines = [line.strip() for line in _plain(error).splitlines()]
    lines = [line for line in lines if line and not line.startswith("Exception encountered")]
    # Of a KeyError, the message is the key alone.
    return lines[0] if lines and not isinstance(error, LookupError | ArithmeticError) else first_line(error)


def _place(error: BaseException) -> str:
    """The last line of the caller's own code in the traceback: 'at `if x.sum() > 0:` (line 7 of net.py), '."""
    own = Path(__file__).parents[3]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        inside = {"torch", "keras", "tensorflow", "numpy"} & set(path.parts) or path.is_relative_to(own / "whyserve")
        if path.is_relative_to(sys.base_prefix) or inside or frame.filename.startswith("<"):
            continue
        code = linecache.getline(frame.filename, frame.lineno or 0).strip()
        return f"at `{code[:100]}` (line {frame.lineno} of {path.name}), " if code else ""
    return ""


def _failing_layer(error: BaseException, module: Any) -> tuple[str, Any, Any]:
    """The innermost layer of a torch network in the traceback, if it has no layers inside: its name, the layer itself
    and its first input. The name is empty if there is no such layer.
    """
    names = {id(layer): OURS.sub("", name) for name, layer in module.named_modules()} if module is not None else {}
    calls = [
        frame.f_locals for frame, _ in traceback.walk_tb(error.__traceback__) if frame.f_code.co_name == "_call_impl"
    ]
    layer, given = (calls[-1]["self"], calls[-1]["args"]) if calls else (None, ())
    if layer is None or next(layer.children(), None) is not None:
        return "", None, None
    return names.get(id(layer), ""), layer, next((each for each in given if hasattr(each, "shape")), None)
