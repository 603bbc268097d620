"""Which method explains a request, with how many samples, and whether its answer is reliable."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from whyserve.errors import UnsupportedMethod
from whyserve.model.manifest import Manifest
from whyserve.model.methods import METHODS, check_method

# Above these, an answer is not reliable: the distance to the reference, and the residual as a share of the effect.
MOST_DISTANCE, MOST_RESIDUAL = 0.3, 0.05
# Figures of a method with fewer samples than usual, in its own figures.
FEWER = ("within_budget", "within_budget_max")
CHOSEN_FOR_DEFAULT = "chosen and measured with the default background, not with this one"
CHOSEN_FOR_SCALE = "chosen and measured on the default scale, not on this one"
OTHER_PLAYERS = "the certificate measured other players"
SET_IN_SPEC = "set in model.toml"
SAMPLING_METHOD = "permutation"  # accurate with few samples too, and it reports a standard error
TREE_METHOD = "owen"

Figures = Mapping[str, Any]
"""What the certificate says of a method, or of a method with a number of samples."""

# A measured time beyond this factor of the time by counted work is worth a warning.
OFF = 3


class MethodChoice(NamedTuple):
    """How a request is explained.

    reason: why this method, if the request did not name it. samples: None is the method's default.
    distance: the certificate's, if it was measured with this background and this number of samples.
    doubt: why the answer is not reliable, as far as the certificate knows.
    """

    method: str
    reason: str | None = None
    samples: int | None = None
    distance: float | None = None
    doubt: str | None = None

    @property
    def has_errors(self) -> bool:
        """Whether the answer has standard errors."""
        return self.method in {SAMPLING_METHOD, TREE_METHOD}


def trials(figures: Figures) -> Iterator[Figures]:
    """The figures of a method for each number of samples that was measured."""
    return (each for each in (figures, *(figures.get(key) for key in FEWER)) if each)


def doubt(figures: Figures) -> str | None:
    """Why a method with these figures is not reliable; None if it is."""
    if figures["distance"] is None:
        return "its distance to exact values is not known"
    if figures["distance"] > MOST_DISTANCE:
        return f"on rows of the model, attributions are {figures['distance']:.0%} from the reference"
    if figures["residual_of_effect"] > MOST_RESIDUAL:
        return f"on rows of the model, {figures['residual_of_effect']:.0%} of the effect is left unexplained"
    return None


def default_figures(certificate: Figures) -> Figures:
    """The figures of the chosen method."""
    samples = certificate.get("samples")
    return next(
        each for each in trials(certificate["methods"][certificate["default"]]) if each.get("samples") == samples
    )


def warnings(manifest: Manifest) -> list[str]:
    """What an export should say of its certificate: a default that is not reliable, and times that are far off."""
    certificate = manifest.certificate
    reason = doubt(default_figures(certificate))
    lines = [f"not reliable: {reason}"] if reason else []
    # The work of shap itself, which is most of kernel's on a small network, is not counted.
    fitting = {name: each for name, each in certificate["methods"].items() if each["fits"] and name != "kernel"}
    off = {name: figures["ms_per_row"] / figures["counted_ms"] for name, figures in fitting.items()}
    times = [f"{name} {factor:.2g} times" for name, factor in off.items() if not 1 / OFF <= factor <= OFF]
    return [*lines, f"measured times are far from those by counted work: {', '.join(times)}"] if times else lines


def chosen_players(manifest: Manifest) -> list[str]:
    """The players that the export chose, as in a request, and why; empty if it had no choice."""
    certificate = manifest.certificate
    if "players_reason" not in certificate:
        return []
    players = json.dumps(certificate["players"]) if certificate["players"] else "the elements"
    return [f"{players} ({certificate['players_reason']})"]


def choose_method(
    manifest: Manifest,
    requested: str = "auto",
    samples: int | None = None,
    standard_error: float | None = None,
    *,
    default_background: bool = True,
    default_scale: bool = True,
    players: Mapping[str, Any] | None = None,
) -> MethodChoice:
    """The method and samples for a request. "auto" is the method of model.toml, or that of the certificate.

    players: as in the request. Of other players than the model's, the certificate only knows whether a method finds
    gradients.

    Raises UnsupportedMethod if the method does not exist, does not fit this model, or takes no limit of the standard
    error although the request has one.
    """
    methods, spec = manifest.certificate["methods"], manifest.spec
    other_players = players is not None and players != manifest.players
    needs_players = other_players and requested == "auto"
    method = SAMPLING_METHOD if needs_players else spec.explain.method if requested == "auto" else requested
    if method == spec.explain.method and samples is None and standard_error is None:
        samples = spec.explain.samples
    if needs_players:
        return MethodChoice(method, OTHER_PLAYERS, samples)
    if method == "auto":
        is_default = {"default_background": default_background, "default_scale": default_scale}
        return choose_auto(manifest.certificate, samples, standard_error, **is_default)
    check_method(method)
    reason = None if method == requested else SET_IN_SPEC
    if not METHODS[method].measured:
        check_standard_error(method, standard_error)
        return MethodChoice(method, reason, samples)
    # An artifact of an older version has no figures for a newer method.
    figures = methods.get(method, {"fits": False, "why": "it was exported without this method; export it again"})
    if not (figures["fits"] or (other_players and method in methods and not METHODS[method].gradients)):
        raise UnsupportedMethod(f'"{method}" cannot explain {spec.name}: {figures["why"]}', field="method")
    check_standard_error(method, standard_error)
    known = default_background and default_scale and not other_players
    return _measured(MethodChoice(method, reason, samples), figures, standard_error, known=known)


def choose_auto(
    certificate: Figures,
    samples: int | None,
    standard_error: float | None,
    *,
    default_background: bool = True,
    default_scale: bool = True,
) -> MethodChoice:
    """The method that the certificate chose; with a limit of the standard error, one that can meet the limit.

    The certificate was measured with the default background and scale. For others, its choice is used too, and the
    reason says so. Raises UnsupportedMethod if no method can meet the limit.
    """
    methods, method, reason = certificate["methods"], certificate["default"], certificate["reason"]
    if standard_error is not None and method != "exact":
        if not methods[SAMPLING_METHOD]["fits"]:
            check_standard_error(method, standard_error)
        method, reason = SAMPLING_METHOD, f"samples until every standard error is at most {standard_error:g}"
    elif samples is None:
        samples = certificate.get("samples")
    if not default_background:
        reason = f"{CHOSEN_FOR_DEFAULT}: {reason}"
    if not default_scale:
        reason = f"{CHOSEN_FOR_SCALE}: {reason}"
    choice = MethodChoice(method, reason, samples)
    return _measured(choice, methods[method], standard_error, known=default_background and default_scale)


def check_standard_error(method: str, standard_error: float | None) -> None:
    """Raises UnsupportedMethod if a limit is given and the method takes none. `exact` has no error."""
    if standard_error is not None and method not in (SAMPLING_METHOD, "exact"):
        raise UnsupportedMethod(
            f'"{method}" takes no limit of the standard error; use {SAMPLING_METHOD} or exact, or leave it out',
            field="standard_error",
        )


def _measured(choice: MethodChoice, figures: Figures, standard_error: float | None, *, known: bool) -> MethodChoice:
    """The choice with the distance and the doubt that the certificate knows for its number of samples."""
    if choice.has_errors and standard_error is not None:
        return choice
    samples = choice.samples if METHODS[choice.method].samples else None
    found = next((each for each in trials(figures) if each.get("samples") == samples), None)
    if not known or found is None:
        return choice
    return choice._replace(distance=found["distance"], doubt=doubt(found))
