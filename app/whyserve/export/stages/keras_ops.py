"""Operations of Keras that tf2onnx cannot convert: erfc and expm1, and convolutions in groups."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from tf2onnx.utils import map_onnx_to_numpy_type


def _one_minus_erf(context: Any, node: Any, name: str, _: Any) -> Any:
    """erfc(x) = 1 − erf(x); the exact gelu of Keras uses it."""
    return _in_two_steps(context, node, name, "Erf", lambda one, value: ("Sub", [one, value]))


def _exp_minus_one(context: Any, node: Any, name: str, _: Any) -> Any:
    """expm1(x) = exp(x) − 1; the celu of Keras uses it."""
    return _in_two_steps(context, node, name, "Exp", lambda one, value: ("Sub", [value, one]))


def _in_two_steps(context: Any, node: Any, name: str, first: str, second: Callable[..., tuple[str, list[str]]]) -> Any:
    dtype = context.get_dtype(node.input[0])
    shape = context.get_shape(node.output[0])
    one = context.make_const(f"{name}__one", np.ones((), map_onnx_to_numpy_type(dtype))).output[0]
    inner = context.make_node(first, [node.input[0]], name=f"{name}__{first}").output[0]
    context.remove_node(name)
    operator, given = second(one, inner)
    return context.make_node(operator, given, outputs=[node.output[0]], name=name, dtypes=[dtype], shapes=[shape])


HANDLERS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "Erfc": (_one_minus_erf, []),
    "Expm1": (_exp_minus_one, []),
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
