"""What the credit is shared among, as a picture names it: features, steps, tokens; an image as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.explain.pictures.words import Scale, plain
from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import ModelSpec

# Bars of a waterfall; what is smaller than these is one bar more.
MOST = 9
# A residual below this part of what was to explain is rounding, and no bar.
VISIBLE = 0.005
LONGEST = 34


@dataclass(frozen=True, slots=True)
class Element:
    label: str
    value: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Line:
    """A bar of a waterfall. kind: up, down or rest (left unexplained)."""

    label: str
    start: float
    end: float
    kind: str
    error: float = 0.0


def clean(text: str) -> str:
    """Text that may stand in any XML, on one line and not too long."""
    plainly = "".join(sign if sign.isprintable() else " " for sign in text)
    return plainly if len(plainly) <= LONGEST else plainly[: LONGEST - 1] + "…"


def elements(spec: ModelSpec, row: Mapping[str, Any], output: Mapping[str, Any]) -> list[Element]:
    """The elements of one explained output, in the order of the row."""
    found: list[Element] = []
    errors = output.get("standard_errors", {})
    seen: set[str] = set()
    for item in spec.inputs:
        if not item.is_tabular:
            found += _parts(item, row[item.name], output["attributions"][item.name], errors.get(item.name), spec)
            continue
        for feature in item.features:
            key = feature.player
            if key in seen:
                continue
            seen.add(key)
            value = row[feature.name]
            said = value if isinstance(value, str) else plain(value)
            label = feature.group or f"{key} = {said}{f' {feature.unit}' if feature.unit else ''}"
            found.append(Element(clean(label), output["attributions"][key], errors.get(key, 0.0)))
    return found


def _parts(item: InputSpec, given: Any, shares: Any, errors: Any, spec: ModelSpec) -> list[Element]:
    """A bar a step where the model takes nothing else; one bar for all of it beside other inputs, or of an image."""
    parts = shares if isinstance(shares, list) else [shares]
    if len(spec.inputs) > 1 or item.kind == "image":
        return [Element(clean(f"{item.name}, all {len(flat(parts))} values"), float(np.sum(flat(parts))))]
    made = []
    for place, part in enumerate(parts):
        known = isinstance(given, Sequence) and not isinstance(given, str) and place < len(given)
        value = given[place] if known else None
        said = f" = {plain(value)}" if isinstance(value, int | float) else ""
        token = part.get("token") if isinstance(part, Mapping) else None
        error = errors[place] if isinstance(errors, list) and isinstance(errors[place], int | float) else 0.0
        label = f"“{token}”" if token is not None else f"{item.name}[{place}]{said}"
        made.append(Element(clean(label), float(np.sum(flat(part))), error))
    return made


def flat(nested: Any) -> list[float]:
    """The numbers of nested lists, or of tokens with their values."""
    if isinstance(nested, Mapping):
        return [float(nested["value"])]
    return [number for part in nested for number in flat(part)] if isinstance(nested, list) else [float(nested)]


def steps(output: Mapping[str, Any], found: Sequence[Element]) -> list[Line]:
    """From the base value on, the largest first and the rest folded; what is left unexplained last."""
    ordered = sorted(found, key=lambda each: -abs(each.value))
    if len(ordered) > MOST + 1:
        others = ordered[MOST:]
        rest = Element(f"{len(others)} others together", sum(each.value for each in others))
        ordered = [*ordered[:MOST], rest]
    made, at = [], output["base_value"]
    for each in ordered:
        made.append(Line(each.label, at, at + each.value, "down" if each.value < 0 else "up", each.error))
        at += each.value
    if abs(output["residual"]) > VISIBLE * abs(output["value"] - output["base_value"]):
        made.append(Line("left unexplained", at, at + output["residual"], "rest"))
    return made


def in_words(output: Mapping[str, Any], found: Sequence[Line], scale: Scale) -> str:
    """What a waterfall shows, for who does not see it."""
    listed = "; ".join(f"{step.label}: {scale.change(step.end - step.start)}" for step in found)
    return (
        f"From the average, {scale.value(output['base_value'])}, to the prediction,"
        f" {scale.value(output['value'])}: {listed}."
    )
