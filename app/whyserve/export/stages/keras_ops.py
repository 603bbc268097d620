"""Operations of Keras that tf2onnx cannot convert: erfc and expm1, and convolutions in groups."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import tensorflow as tf
from tf2onnx.utils import map_onnx_to_numpy_type


def _difference(operator: str, one_first: bool, context: Any, node: Any, name: str, _: Any) -> Any:
    """1 − operator(x), or operator(x) − 1."""
    dtype = context.get_dtype(node.input[0])
    shape = context.get_shape(node.output[0])
    one = context.make_const(f"{name}__one", np.ones((), map_onnx_to_numpy_type(dtype))).output[0]
    inner = context.make_node(operator, [node.input[0]], name=f"{name}__{operator}").output[0]
    context.remove_node(name)
    given = [one, inner] if one_first else [inner, one]
    return context.make_node("Sub", given, outputs=[node.output[0]], name=name, dtypes=[dtype], shapes=[shape])


# The exact gelu of Keras uses erfc(x) = 1 − erf(x), and its celu uses expm1(x) = exp(x) − 1.
HANDLERS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "Erfc": (partial(_difference, "Erf", True), []),
    "Expm1": (partial(_difference, "Exp", False), []),
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
