"""The scale on which a prediction is explained: the output itself, log-odds, or one output compared with another."""

from dataclasses import dataclass
from typing import Literal

from whyserve.errors import InvalidInput, UnknownLabel
from whyserve.model.spec import ModelSpec, ScaleName


@dataclass(frozen=True, slots=True)
class Scale:
    """Another scale than that of the output.

    log_odds: log(p/(1 − p)) of an output. log_ratio: log(p/q), with q the probability of `instead_of`.
    difference: an output minus the output `instead_of`, for values and for the logits of multilabel.
    """

    name: Literal["log_odds", "log_ratio", "difference"]
    instead_of: str | None = None


def scale_facts(scale: Scale | None) -> dict[str, str]:
    """The fields of an answer that name its scale; none for the scale of the output."""
    facts = {"scale": scale.name, "instead_of": scale.instead_of} if scale else {}
    return {key: value for key, value in facts.items() if value is not None}


def scale_options(scale: Scale | None) -> dict[str, str]:
    """The options of a request for this scale. They do not depend on the default of model.toml."""
    if scale is None:
        return {"scale": "output"}
    return {"scale": "log_odds"} if scale.instead_of is None else {"instead_of": scale.instead_of}


def scale_of(spec: ModelSpec, name: ScaleName | None = None, instead_of: str | None = None) -> Scale | None:
    """The scale of a request; None is the output itself. name: None is the default of model.toml.

    Raises InvalidInput and UnknownLabel, which name the field.
    """
    if name == "log_odds" and spec.task == "regression":
        raise InvalidInput(
            '"scale": the output is no probability, so it has no log-odds; send "scale": "output", or leave it out',
            field="scale",
        )
    if instead_of is None:
        return Scale("log_odds") if (name or spec.explain.scale) == "log_odds" else None
    names = spec.output_names
    if len(names) == 1:
        raise InvalidInput(
            '"instead_of": the model has one output, so there is no other to compare it with; leave it out',
            field="instead_of",
        )
    if instead_of not in names:
        raise UnknownLabel(
            f'"instead_of": unknown output; available outputs: {", ".join(names[:20])}', field="instead_of"
        )
    is_ratio = spec.task == "classification" or spec.output.scores == "probabilities"
    return Scale("log_ratio" if is_ratio and spec.task != "regression" else "difference", instead_of)
