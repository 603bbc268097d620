"""The parts of a row that have an attribution (features, steps, tokens), with labels, and the bars of a waterfall."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whyserve.explain.pictures.words import Scale, plain
from whyserve.model.input_spec import InputSpec
from whyserve.model.spec import ModelSpec

# The largest elements have a bar each; one more bar is the sum of the others.
MAX_BARS = 9
# A smaller residual, relative to |value − base value|, is rounding and has no bar.
VISIBLE_RESIDUAL = 0.005
MAX_LABEL = 100  # characters


@dataclass(frozen=True, slots=True)
class Element:
    """A part of the row. value: its attribution. error: its standard error, 0 if there is none."""

    label: str
    value: float
    error: float = 0.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a waterfall, from `start` to `end`. kind: up, down or rest (the residual)."""

    label: str
    start: float
    end: float
    kind: str
    error: float = 0.0


def clean(text: str, longest: int = MAX_LABEL) -> str:
    """One line of at most `longest` printable characters, safe in XML."""
    printable = "".join(character if character.isprintable() else " " for character in text)
    return printable if len(printable) <= longest else printable[: longest - 1] + "…"


def elements(spec: ModelSpec, row: Mapping[str, Any], output: Mapping[str, Any]) -> list[Element]:
    """The elements of one explained output, in the order of the model's inputs."""
    found: list[Element] = []
    errors = output.get("standard_errors", {})
    seen: set[str] = set()
    for item in spec.inputs:
        if listed := listed_players(output, item.name):
            of_players = listed_players({"attributions": errors}, item.name) or [{"value": 0.0}] * len(listed)
            pairs = zip(listed, of_players, strict=True)
            found += [Element(clean(one["player"]), one["value"], error["value"]) for one, error in pairs]
            continue
        if item.player_keys is None:
            if item.name not in output["attributions"]:  # held, or in a group
                continue
            found += _parts(item, row[item.name], output["attributions"][item.name], errors.get(item.name), spec)
            continue
        for key, label in _labels(item, row).items():
            if key not in seen and key in output["attributions"]:
                seen.add(key)
                found.append(Element(clean(label), output["attributions"][key], errors.get(key, 0.0)))
    groups = output.get("players", ())
    return found + [Element(clean(one["player"]), one["value"], one.get("standard_error", 0.0)) for one in groups]


def listed_players(output: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The players of an input that an explained output lists; none if its elements are the players."""
    given = output["attributions"].get(name)
    return given if isinstance(given, list) and given and isinstance(given[0], Mapping) and "player" in given[0] else []


def _labels(item: InputSpec, row: Mapping[str, Any]) -> dict[str, str]:
    """The label of each player, by key: a feature with its value, otherwise the key alone."""
    labels = {key: key for key in item.attribution_forms()}
    for feature in item.features:
        if not feature.group:
            value = row[feature.name]
            shown = "missing" if value is None else value if isinstance(value, str) else plain(value)
            unit = f" {feature.unit}" if feature.unit and value is not None else ""
            labels[feature.name] = f"{feature.name} = {shown}{unit}"
    return labels


def _parts(item: InputSpec, values: Any, attributions: Any, errors: Any, spec: ModelSpec) -> list[Element]:
    """The elements of an input whose players have no keys of their own.

    One element per step or token if it is the model's only input. An image, or an input beside others, is one element.
    """
    parts = attributions if isinstance(attributions, list) else [attributions]
    if len(spec.inputs) > 1 or item.kind == "image":
        return [Element(clean(f"{item.name}, all {len(flat(parts))} values"), float(np.sum(flat(parts))))]
    found = []
    for index, part in enumerate(parts):
        known = isinstance(values, Sequence) and not isinstance(values, str) and index < len(values)
        value = values[index] if known else None
        shown = f" = {plain(value)}" if isinstance(value, int | float) else ""
        token = part.get("token") if isinstance(part, Mapping) else None
        error = errors[index] if isinstance(errors, list) and isinstance(errors[index], int | float) else 0.0
        label = f"“{token}”" if token is not None else f"{item.name}[{index}]{shown}"
        found.append(Element(clean(label), float(np.sum(flat(part))), error))
    return found


def flat(nested: Any) -> list[float]:
    """The numbers of nested lists, or of tokens with values, in one list."""
    if isinstance(nested, Mapping):
        return [float(nested["value"])]
    return [number for part in nested for number in flat(part)] if isinstance(nested, list) else [float(nested)]


def waterfall_bars(output: Mapping[str, Any], found: Sequence[Element]) -> list[Bar]:
    """From the base value to the prediction: the largest elements, then the sum of the others, then the residual."""
    ordered = sorted(found, key=lambda each: -abs(each.value))
    if len(ordered) > MAX_BARS + 1:
        others = ordered[MAX_BARS:]
        rest = Element(f"{len(others)} others together", sum(each.value for each in others))
        ordered = [*ordered[:MAX_BARS], rest]
    bars, start = [], output["base_value"]
    for each in ordered:
        bars.append(Bar(each.label, start, start + each.value, "down" if each.value < 0 else "up", each.error))
        start += each.value
    if abs(output["residual"]) > VISIBLE_RESIDUAL * abs(output["value"] - output["base_value"]):
        bars.append(Bar("left unexplained", start, start + output["residual"], "rest"))
    return bars


def describe_waterfall(output: Mapping[str, Any], bars: Sequence[Bar], scale: Scale) -> str:
    """The content of a waterfall in one sentence, for screen readers."""
    listed = "; ".join(f"{bar.label}: {scale.change(bar.end - bar.start)}" for bar in bars)
    return f"{from_average(output, scale)} {listed}."


def from_average(output: Mapping[str, Any], scale: Scale) -> str:
    """The beginning of every description."""
    return f"From the average, {scale.value(output['base_value'])}, to the prediction, {scale.value(output['value'])}:"
