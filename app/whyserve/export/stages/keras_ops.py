"""Operations of Keras that tf2onnx cannot convert: erfc and expm1, and convolutions in groups."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from tf2onnx.utils import map_onnx_to_numpy_type


def _in_two_steps(context: Any, node: Any, name: str, steps: tuple[str, bool]) -> Any:
    """steps: the operator of the first step, and whether the second step subtracts its result from 1, or 1 from it."""
    first, from_one = steps
    dtype = context.get_dtype(node.input[0])
    shape = context.get_shape(node.output[0])
    one = context.make_const(f"{name}__one", np.ones((), map_onnx_to_numpy_type(dtype))).output[0]
    inner = context.make_node(first, [node.input[0]], name=f"{name}__{first}").output[0]
    context.remove_node(name)
    given = [one, inner] if from_one else [inner, one]
    return context.make_node("Sub", given, outputs=[node.output[0]], name=name, dtypes=[dtype], shapes=[shape])


# erfc(x) = 1 − erf(x), in the exact gelu of Keras; expm1(x) = exp(x) − 1, in its celu.
HANDLERS: dict[str, tuple[Callable[..., Any], tuple[str, bool]]] = {
    "Erfc": (_in_two_steps, ("Erf", True)),
    "Expm1": (_in_two_steps, ("Exp", False)),
}


@contextmanager
def traced_inline() -> Iterator[None]:
    """Make Keras trace a convolution in groups inline, not as a call of a compiled function, which ONNX does not have.

    Keras compiles such a convolution because TensorFlow cannot run it on a CPU. Here it is only traced.
    """
    compiled = tf.function

    def plain(function: Any = None, **_: Any) -> Any:
        return function if function is not None else lambda given: given

    tf.function = plain
    try:
        yield
    finally:
        tf.function = compiled
