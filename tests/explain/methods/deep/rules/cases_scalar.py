"""Functions of one to three numbers or booleans, each with the interval that its arguments are taken from."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import special

from tests.explain.methods.deep.rules.case import Case

aten = torch.ops.aten
BOOL = None
"""The interval of a boolean."""

Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Scalar(Case):
    """intervals: one per argument. whole: the arguments are rounded down to integers."""

    intervals: tuple[Interval, ...] = ((-1.3, 2.1),)
    whole: bool = False


def _cases(intervals: tuple[Interval, ...], functions: dict[str, object], *, whole: bool = False) -> list[Scalar]:
    # A name may be followed by a remark that tells two uses of an operation apart.
    return [
        Scalar(f"aten.{name.split()[0]}", function, intervals, whole)  # type: ignore[arg-type]
        for name, function in functions.items()
    ]


WIDE, POSITIVE, INNER = (-1.3, 2.1), (0.2, 3.0), (-0.9, 0.8)
# At the middle of this interval, 1, rounding jumps: over a tiny difference there, too.
STEPPED = (0.0, 2.0)

ONE = [
    *_cases(
        (WIDE,),
        {
            "abs": torch.abs, "asinh": torch.asinh, "atan": torch.atan, "cos": torch.cos, "cosh": torch.cosh,
            "elu": F.elu, "erf": torch.erf, "erfc": torch.erfc, "exp": torch.exp, "exp2": torch.exp2,
            "expm1": torch.expm1, "gelu": F.gelu, "gelu tanh": lambda x: F.gelu(x, approximate="tanh"),
            "hardtanh": lambda x: F.hardtanh(x, -1, 1), "i0": torch.i0, "leaky_relu": F.leaky_relu,
            "relu": torch.relu, "sigmoid": torch.sigmoid, "sin": torch.sin, "sinh": torch.sinh,
            "special_erfcx": special.erfcx, "special_i0e": special.i0e, "special_i1": special.i1,
            "special_i1e": special.i1e, "tanh": torch.tanh, "neg": torch.neg, "clone": torch.clone,
            "alias": lambda x: aten.alias(x) * 2, "clamp": lambda x: x.clamp(-0.5, 0.7),
            "clamp min": lambda x: x.clamp(min=0.3), "pow square": lambda x: x**2, "pow cube": lambda x: x**3,
            "pow exponent": lambda x: 2**x, "minimum constant": lambda x: torch.minimum(x, torch.tensor(0.5).double()),
            "maximum constant": lambda x: torch.maximum(x, torch.tensor(0.1).double()),
            "fmin constant": lambda x: torch.fmin(x, torch.tensor(0.5).double()),
            "fmax constant": lambda x: torch.fmax(x, torch.tensor(0.1).double()),
            "hypot constant": lambda x: torch.hypot(x, torch.tensor(0.5).double()),
            "atan2 constant": lambda x: torch.atan2(x, torch.tensor(0.5).double()),
            "copysign constant": lambda x: torch.copysign(torch.tensor(0.5).double(), x),
            "mul constant": lambda x: x * 3, "mul itself": lambda x: x * x, "div constant": lambda x: x / 2,
            "div no rounding": lambda x: torch.div(x, 2, rounding_mode=None),
            "add constant": lambda x: x + 1, "sub constant": lambda x: 1 - x,
            "sub alpha": lambda x: torch.sub(1, x, alpha=3),
            "_to_copy narrower": lambda x: x.float() * 0.5, "where same": lambda x: torch.where(x > 5, x, x.exp()),
            "full_like": lambda x: torch.full_like(x, 2) * x,
        },
    ),
    *_cases(
        (POSITIVE,),
        {
            "digamma": torch.digamma, "lgamma": torch.lgamma, "log": torch.log, "log10": torch.log10,
            "log1p": torch.log1p, "log2": torch.log2, "reciprocal": torch.reciprocal, "rsqrt": torch.rsqrt,
            "sqrt": torch.sqrt, "reciprocal numerator": lambda x: 3 / x, "pow itself": lambda x: x**x,
            "pow root": lambda x: x**0.4,
        },
    ),
    *_cases(
        (INNER,),
        {
            "acos": torch.acos, "asin": torch.asin, "atanh": torch.atanh, "erfinv": torch.erfinv, "tan": torch.tan,
            "special_ndtri": lambda x: special.ndtri((x + 1) / 2),
        },
    ),
    *_cases(((1.1, 3.0),), {"acosh": torch.acosh}),
    *_cases(((99.0, 102.0),), {"exp large": lambda x: x.exp() * 1e-40}),
    *_cases(
        (STEPPED,),
        {
            "ceil": torch.ceil, "floor": torch.floor, "round": lambda x: torch.round(x - 0.5), "trunc": torch.trunc,
            "sign": lambda x: torch.sign(x - 1), "signbit": lambda x: torch.signbit(x - 1),
            "_to_copy": lambda x: x.long(),
            "div rounded": lambda x: torch.div(x, 0.5, rounding_mode="floor"),
            "fmod constant": lambda x: torch.fmod(x, 1), "remainder constant": lambda x: torch.remainder(x, 1),
            "eq constant": lambda x: x == 1, "ne constant": lambda x: x != 1, "gt constant": lambda x: x > 1,
            "ge constant": lambda x: x >= 1, "lt constant": lambda x: x < 1, "le constant": lambda x: x <= 1,
            "bucketize": lambda x: torch.bucketize(x, torch.tensor([0.5, 1.0, 1.5]).double()),
            "isnan": lambda x: torch.isnan(x) + x, "isinf": lambda x: torch.isinf(x) + x,
            "logical_not number": torch.logical_not, "_to_copy truth": lambda x: x.long().bool(),
            "hardtanh kink": F.hardtanh, "clamp kink": lambda x: x.clamp(0.3, 1.0),
        },
    ),
    *_cases(
        ((-2.0, 6.0),),
        {
            "bitwise_and integer": lambda x: x & 3, "bitwise_or integer": lambda x: x | 1,
            "bitwise_xor integer": lambda x: x ^ 3, "bitwise_not integer": torch.bitwise_not,
            "div whole": lambda x: x // 2, "remainder whole": lambda x: x % 3, "eq whole": lambda x: x == 2,
            "clamp whole": lambda x: x.clamp(0, 4), "_to_copy back": lambda x: x.double() * 2,
        },
        whole=True,
    ),
    *_cases(
        (BOOL,),
        {
            "logical_not": torch.logical_not, "bitwise_not": torch.bitwise_not,
            "_to_copy boolean": lambda c: c.double(),
            "bitwise_and constant": lambda c: c & torch.tensor([True, False]),
            "bitwise_or constant": lambda c: c | torch.tensor([True, False]),
            "bitwise_xor constant": lambda c: c ^ torch.tensor([True, False]),
            "logical_and constant": lambda c: torch.logical_and(c, torch.tensor([True, False])),
            "eq boolean": lambda c: c == False, "ne boolean": lambda c: c != True,  # noqa: E712
            "where condition": lambda c: torch.where(c, 3.0, -1.0), "mul boolean": lambda c: c * 2.5,
        },
    ),
]  # fmt: skip

TWO = [
    *_cases(
        (WIDE, (-0.7, 1.6)),
        {
            "add": torch.add, "add alpha": lambda a, b: torch.add(a, b, alpha=2), "sub": torch.sub, "mul": torch.mul,
            "maximum": torch.maximum, "minimum": torch.minimum, "fmax": torch.fmax, "fmin": torch.fmin,
            "atan2": lambda a, b: torch.atan2(a, b + 2), "hypot": torch.hypot, "copysign": torch.copysign,
            "gt": torch.gt, "ge": torch.ge, "lt": torch.lt, "le": torch.le, "eq": torch.eq, "ne": torch.ne,
            "where": lambda a, b: torch.where(a > 9, a, b * 2), "clamp bound": torch.clamp_min,
            "logical_and number": torch.logical_and, "logical_or number": torch.logical_or,
            "logical_xor number": torch.logical_xor,
        },
    ),
    *_cases(
        (POSITIVE, (0.4, 1.7)),
        {
            "mul by the reciprocal": torch.div, "pow": torch.pow, "fmod": torch.fmod, "remainder": torch.remainder,
            "div floor": lambda a, b: torch.div(a, b, rounding_mode="floor"),
        },
    ),
    *_cases(
        (BOOL, BOOL),
        {
            "logical_and": torch.logical_and, "logical_or": torch.logical_or, "logical_xor": torch.logical_xor,
            "bitwise_and": torch.bitwise_and, "bitwise_or": torch.bitwise_or, "bitwise_xor": torch.bitwise_xor,
            "add boolean": torch.add, "mul booleans": torch.mul, "eq booleans": torch.eq, "gt booleans": torch.gt,
        },
    ),
    *_cases((BOOL, WIDE), {"where value": lambda c, a: torch.where(c, a, 0.25), "mul mask": torch.mul}),
    *_cases(((-2.0, 6.0), (1.0, 5.0)), {"bitwise_and integers": lambda a, b: a & b}, whole=True),
]  # fmt: skip

THREE = [
    *_cases((WIDE, (-1.0, 0.2), (0.4, 1.1)), {"clamp bounds": torch.clamp}),
    *_cases((BOOL, WIDE, (0.4, 1.1)), {"where all": torch.where}),
]
