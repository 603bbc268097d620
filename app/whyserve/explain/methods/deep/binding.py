"""The rules of all steps of a traced network."""

import torch

from whyserve.errors import UnsupportedNetwork
from whyserve.explain.graph.program import Program, Step
from whyserve.explain.graph.reader import is_random
from whyserve.explain.methods.deep.bound_rule import BoundRule
from whyserve.explain.methods.deep.table import RULES


def bound_rules(program: Program) -> list[BoundRule]:
    """One rule per step, in the steps' order. Raises UnsupportedNetwork naming every operation without a rule."""
    rules, without = [], set()
    for step in program.live:
        if is_random(step.op, step.args):
            raise UnsupportedNetwork(f"{step.name} draws random numbers, so the network's output is not fixed")
        if program.dtypes.get(step.slot, torch.bool).is_complex:
            raise UnsupportedNetwork(f"deep has no rule for complex numbers, as in {step.name}; use another method")
        bound = bind(step, program)
        if bound is None:
            without.add(step.name)
        else:
            rules.append(bound)
    if without:
        raise UnsupportedNetwork(f"deep has no rule for {', '.join(sorted(without))}; use another method")
    return rules


def bind(step: Step, program: Program) -> BoundRule | None:
    """The first rule in the table that covers the step, or None."""
    bound = (rule(step, program) for rule in RULES.get(step.name, ()))
    return next((each for each in bound if each is not None), None)
