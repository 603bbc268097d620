"""The networks of the corpus, by name.

Each network is a function. It builds the network, calls `package` once as its user would, and returns rows as requests
hold them, with the original's answers for these rows. The function of a network that is refused returns nothing.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

Rows = list[dict[str, Any]]
Build = Callable[[Callable[..., Any]], Any]


@dataclass(frozen=True, slots=True)
class Case:
    """name: of the model. kind: of networks. keras: the backend of Keras in the process of the caller.

    taken: how the network is taken, for docs/networks.md. refused: words of the message, if the network is refused.
    way_out: what its user does then. ci: whether CI packages the network in every run; CI takes one of each kind.
    gap: largest difference from the original, as a share of the output's scale.
    """

    name: str
    kind: str
    build: Build
    keras: str
    taken: str = ""
    refused: str = ""
    way_out: str = ""
    ci: bool = False
    gap: float = 1e-5


CASES: dict[str, Case] = {}


def network(
    kind: str, taken: str, *, keras: str = "torch", ci: bool = False, gap: float = 1e-5
) -> Callable[[Build], Build]:
    """Add a network that `package` takes."""
    return lambda build: _add(Case(build.__name__, kind, build, keras, taken=taken, ci=ci, gap=gap))


def refusal(kind: str, words: str, way_out: str, *, keras: str = "torch", ci: bool = False) -> Callable[[Build], Build]:
    """Add a network that `package` refuses with these words."""
    return lambda build: _add(Case(build.__name__, kind, build, keras, refused=words, way_out=way_out, ci=ci))


def _add(case: Case) -> Build:
    assert case.name not in CASES, f"two networks of the corpus have the name {case.name}"
    CASES[case.name] = case
    return case.build


def named_rows(names: Any, table: Any) -> Rows:
    """A table as instances: one key per column."""
    return [dict(zip(names, row, strict=True)) for row in table.tolist()]


def inputs_as_rows(**arrays: Any) -> Rows:
    """Arrays by input as instances: nested lists by the name of the input."""
    rows = zip(*(array.tolist() for array in arrays.values()), strict=True)
    return [dict(zip(arrays, row, strict=True)) for row in rows]


def taken_networks(ci: bool = False) -> Iterator[Case]:
    return (case for case in CASES.values() if not case.refused and (case.ci or not ci))


def refused_networks(ci: bool = False) -> Iterator[Case]:
    return (case for case in CASES.values() if case.refused and (case.ci or not ci))
