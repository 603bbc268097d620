"""The explanation methods: the names that a request may give, and what people read about each.

A new method needs an entry here, and its class in explain/methods/registry.
"""

from dataclasses import dataclass
from typing import Literal

from whyserve.errors import UnsupportedMethod

# "auto" is the method that the certificate chose.
Method = Literal["auto", "exact", "deep", "gradient", "permutation", "kernel", "owen"]


# The default times in ms per row: that the default method may take, and that it may take if no faster one is reliable.
BUDGET_MS, BUDGET_MAX_MS = 20, 2000


@dataclass(frozen=True, slots=True)
class MethodFacts:
    """words: how the method works, in one sentence for people.
    samples: about how many samples it takes if a request does not say; 0 if it does not sample.
    gradients: whether it needs the operations of a torch network; other methods only need its outputs.
    measured: whether the certificate measures it. The values of a tree of players are not those of its reference.
    """

    words: str
    samples: int = 0
    gradients: bool = False
    measured: bool = True


METHODS: dict[str, MethodFacts] = {
    "exact": MethodFacts("every combination of features was tried"),
    "permutation": MethodFacts(
        "features were replaced in many combinations, and the effects were weighted and averaged", samples=4
    ),
    "deep": MethodFacts(
        "contributions were carried back through the network's layers by rules, an approximation", gradients=True
    ),
    "gradient": MethodFacts(
        "slopes were averaged along the way from the background to this row, an approximation",
        samples=16,
        gradients=True,
    ),
    "kernel": MethodFacts("a weighted line was fitted through many combinations of features", samples=2048),
    "owen": MethodFacts(
        "features were replaced group by group, and the effects add up in every group", samples=4, measured=False
    ),
}
METHOD_NAMES = ("auto", *METHODS)
MEASURED_METHODS = tuple(name for name, facts in METHODS.items() if facts.measured)
_BY_OUTPUTS = ", ".join(name for name, facts in METHODS.items() if not facts.gradients)
NEEDS_TORCH = f"the method needs a network of torch or Keras; for an ONNX model, use {_BY_OUTPUTS}"
NEEDS_NUMBERS = (
    "the method multiplies differences of the inputs, and the network gets NaN for missing values; use"
    f" {_BY_OUTPUTS}, or set `missing` to a fill in model.toml"
)
NEEDS_PLACES = (
    "the method compares tokens at the same place, and removed tokens move the others; use"
    f' {_BY_OUTPUTS}, or send "absent": "mask"'
)


def check_method(method: str) -> None:
    """Raises UnsupportedMethod if no method has this name."""
    if method not in (names := ("auto", *METHODS)):
        raise UnsupportedMethod(f'unknown method "{method}"; available methods: {", ".join(names)}', field="method")


def method_of_interactions(method: str) -> str:
    """The method of a request for interactions. Raises UnsupportedMethod for a method that computes none."""
    if method not in {"auto", "exact"}:
        raise UnsupportedMethod(
            f'"interactions" are computed by "method": "exact" alone, not by {method}', field="interactions"
        )
    return "exact"
