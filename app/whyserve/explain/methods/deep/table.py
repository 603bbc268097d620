"""Which rules an operation has, in the order in which they are tried.

An operation's rules are the lines that name it, from the top, and the first rule that covers a use of the operation
is taken. An operation has several rules for one of two reasons:

- Guarded: each rule covers uses of the operation that the others do not, such as a constant second argument.
- Fast before general: two rules cover the same use and give the same multipliers, and the first is faster.

So the order decides speed alone: tests/explain/methods/deep/test_table.py takes the last rule in place of the first.

Names are ATen operations that a trace of torch 2.13 can produce; all others are decomposed into these (see
graph/export.py).
"""

from collections.abc import Mapping
from types import MappingProxyType

from whyserve.explain.methods.deep.bound_rule import Rule
from whyserve.explain.methods.deep.rules import (
    arguments,
    elementwise,
    indexing,
    linear,
    maximum,
    products,
    recurrent,
    shapes,
    softmax,
    steps,
)

TABLE: tuple[tuple[Rule, str], ...] = (
    # Linear in all arguments that depend on the input.
    (linear.same, "alias clone"),
    (linear.copied, "copy"),
    (linear.cast, "_to_copy"),  # To float, or to a type that holds all values of the source's.
    (linear.shape_alone, "full_like"),
    (linear.added, "add sub"),  # Not bool + bool, which is `or`.
    (linear.scaled, "mul div"),  # A constant factor or denominator, and no rounding mode.
    (linear.matrix, "mm addmm"),  # Fast: parameters as they are, and no scaling.
    (linear.one_side, "mm addmm bmm"),  # One side constant.
    (linear.convolved, "convolution"),
    (linear.batch_normalised, "_native_batch_norm_legit_no_training"),
    (linear.added_up, "sum mean"),  # Fast: over named dimensions.
    (shapes.reshaped, "view unsqueeze squeeze"),
    (shapes.permuted, "permute"),
    (shapes.item, "getitem"),
    (
        linear.by_autograd,
        "sum mean slice select split_with_sizes cat avg_pool2d avg_pool3d _adaptive_avg_pool2d"
        " _adaptive_avg_pool3d constant_pad_nd cumsum diagonal expand flip neg repeat slice_scatter unfold"
        " upsample_bilinear2d upsample_nearest2d upsample_trilinear3d",
    ),
    # Picked by position.
    (indexing.embedded, "embedding"),
    (indexing.looked_up, "index index_select"),  # A constant table, indices that depend on the input.
    (indexing.picked, "gather index index_put index_select scatter scatter_add where"),  # Constant positions.
    # Products of values that depend on the input.
    (products.product, "mul logical_and"),  # Both sides; logical_and of booleans.
    (products.matrices, "bmm"),  # Both sides.
    (products.choice, "where"),  # The condition depends on the input.
    # Functions of one number.
    (elementwise.closed(elementwise.rectifier), "relu"),
    (elementwise.closed(elementwise.hyperbolic), "tanh"),
    (elementwise.closed(elementwise.logistic), "sigmoid"),
    (elementwise.closed(elementwise.reciprocal), "reciprocal"),
    (elementwise.closed(elementwise.inverse_root), "rsqrt"),
    (elementwise.closed(elementwise.exponential), "exp"),
    (elementwise.squared, "pow"),  # Fast: the constant exponent 2.
    (
        # One argument that is a number, of the result's shape. fmod and remainder are linear between their jumps.
        elementwise.quotient,
        "abs acos acosh asin asinh atan atanh cos cosh digamma elu erf erfc erfinv exp2 expm1 gelu hardtanh i0"
        " leaky_relu lgamma log log10 log1p log2 sin sinh special_erfcx special_i0e special_i1 special_i1e"
        " special_ndtri sqrt tan atan2 clamp copysign fmax fmin fmod hypot maximum minimum pow remainder",
    ),
    # Booleans.
    (steps.negation, "bitwise_not logical_not"),  # logical_not of booleans.
    (steps.any_true, "any"),
    (arguments.truncation, "_to_copy"),  # Float to integer, integer to bool.
    # Jumps, and functions of several arguments, of a boolean, or of an argument that broadcasts.
    (
        arguments.of_arguments,
        "add atan2 bitwise_and bitwise_or bitwise_xor bucketize ceil clamp copysign div eq floor fmax fmin"
        " fmod ge gt hypot isinf isnan le logical_and logical_not logical_or logical_xor lt maximum minimum ne pow"
        " remainder round sign signbit trunc",
    ),
    # Operations taken whole.
    (maximum.pooled, "max_pool2d_with_indices max_pool3d_with_indices adaptive_max_pool2d adaptive_max_pool3d"),
    (maximum.reduced, "amax amin max min"),
    (softmax.softmax, "_softmax _log_softmax"),
    (softmax.log_of_sum, "logsumexp"),
    (recurrent.recurrent, "lstm gru rnn_tanh rnn_relu"),
)


def _by_name(table: tuple[tuple[Rule, str], ...]) -> dict[str, tuple[Rule, ...]]:
    rules: dict[str, tuple[Rule, ...]] = {}
    for rule, names in table:
        for name in names.split():
            # A result of an operation that has several is picked by Python's getitem, not by an ATen operation.
            full = name if name == "getitem" else f"aten.{name}"
            rules[full] = (*rules.get(full, ()), rule)
    return rules


RULES: Mapping[str, tuple[Rule, ...]] = MappingProxyType(_by_name(TABLE))
