"""Which rule an operation gets: complete, and independent of the order in which modules are imported."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from copy import copy

import pytest
import torch

from tests.conftest import ROOT
from tests.explain.methods.deep.rules.case import TOGETHER, Case, Explained, Found
from tests.explain.methods.deep.rules.cases_exact import CASES as EXACT
from tests.explain.methods.deep.rules.test_exact_rules import FOUND as EXACT_FOUND
from tests.explain.methods.deep.rules.test_scalar import FOUND as SCALAR_FOUND
from tests.explain.methods.deep.rules.test_scalar import TABLES
from tests.explain.methods.deep.rules.test_whole import FORMULA_CASES, FORMULA_FOUND, PART_CASES, PART_FOUND
from tests.explain.zoo.case import Lambda
from whyserve.explain.game.base import Limits
from whyserve.explain.game.network import Network
from whyserve.explain.game.players import Players
from whyserve.explain.methods.deep.backward import Backward
from whyserve.explain.methods.deep.bound_rule import BoundRule
from whyserve.explain.methods.deep.deep import Deep
from whyserve.explain.methods.deep.forward import BackgroundValues, Forward
from whyserve.explain.methods.deep.table import RULES, TABLE

# Uses of an operation that two rules cover: the first is a special case of the second, and faster.
SPECIAL = {
    ("linear.matrix", "linear.one_side"),
    ("linear.added_up", "linear.by_autograd"),
    ("elementwise.squared", "elementwise.quotient"),
    ("elementwise.quotient", "arguments.of_arguments"),
    ("steps.negation", "arguments.of_arguments"),
    ("elementwise.squared", "arguments.of_arguments"),
    ("linear.scaled", "arguments.of_arguments"),
    ("products.product", "arguments.of_arguments"),
    ("linear.added", "arguments.of_arguments"),
}

ALL: list[tuple[Sequence[Case], Found]] = [
    *((cases, SCALAR_FOUND[arguments]) for arguments, cases in TABLES),
    (EXACT, EXACT_FOUND),
    (FORMULA_CASES, FORMULA_FOUND),
    (PART_CASES, PART_FOUND),
]
GROUPS = [
    pytest.param(found, first, id=f"{part}-{first}")
    for part, (cases, found) in enumerate(ALL)
    for first in range(0, len(cases), TOGETHER)
]


def name_of(rule: Callable[..., object]) -> str:
    return f"{rule.__module__.rsplit('.', 1)[1]}.{rule.__qualname__}"


def covering(found: Explained) -> list[list[tuple[str, BoundRule]]]:
    """By step, every rule in the table that covers it."""
    program, result = found.method.program, []
    for step in program.live:
        bound = [(name_of(rule), rule(step, program)) for rule in RULES[step.name]]
        result.append([(name, each) for name, each in bound if each is not None])
    return result


def test_every_operation_has_a_case():
    assert {case.operation for cases, _ in ALL for case in cases} == set(RULES)


def test_step_functions_do_not_hide_linear_division():
    """((x₀ + x₁)/2)² from (0, 2) to (1, 1): the mean stays 1, and its derivative 2 is shared."""
    network = Network(Lambda(lambda _, x: ((x[:, :1] + x[:, 1:]) / 2) ** 2), ("x",))
    method = Deep(network, {"x": torch.tensor([[0.0, 2.0]])}, Players.elements({"x": (2,)}))
    answer = method.explain({"x": torch.tensor([[1.0, 1.0]])}, torch.zeros(1, 1, dtype=torch.int64), Limits())
    assert answer.values[0, 0].tolist() == [1.0, -1.0]


@pytest.mark.parametrize(("found", "first"), GROUPS)
def test_the_order_of_rules_is_a_matter_of_speed_alone(found: Found, first: int):
    """The last rule that covers a step gives the same attributions as the first."""
    seen, _ = found(first)
    rules = covering(seen)
    assert {(each[0][0], each[-1][0]) for each in rules if len(each) > 1} <= SPECIAL
    last, method = [each[-1][1] for each in rules], copy(seen.method)
    method.forward = Forward(method.program, last, ("x",))
    method.backward = Backward(method.program, last)
    method.background_values = BackgroundValues(method.forward, method.background, keep=True)
    rows = seen.rows
    every = torch.arange(method.outputs.shape[1]).expand(len(rows), -1)
    again = method.explain({"x": rows}, every, Limits()).values.transpose(1, 2)
    assert torch.allclose(again, seen.deep, rtol=1e-6, atol=1e-6)


def test_no_line_of_the_table_names_an_operation_twice():
    for rule, names in TABLE:
        assert len(set(names.split())) == len(names.split()), name_of(rule)


IMPORTS = """
import importlib, json, pkgutil, sys
from whyserve.explain.methods.deep import rules
names = sorted(module.name for module in pkgutil.iter_modules(rules.__path__))
for name in names[::-1] if sys.argv[1] == "backwards" else names:
    importlib.import_module(f"{rules.__name__}.{name}")
from whyserve.explain.methods.deep.table import RULES
print(json.dumps({name: [f"{r.__module__.rsplit('.', 1)[1]}.{r.__qualname__}" for r in RULES[name]] for name in RULES}))
"""


@pytest.mark.parametrize("order", ["forwards", "backwards"])
def test_the_order_of_imports_decides_nothing(order: str):
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, order],
        check=True, capture_output=True, text=True, timeout=120, cwd=ROOT, env={**os.environ},
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    assert list(found) == list(RULES)
    assert found == {name: [name_of(rule) for rule in rules] for name, rules in RULES.items()}
