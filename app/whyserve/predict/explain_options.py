"""The options of an explanation, of a request or of a notebook: checked against the model, with its defaults."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from whyserve.errors import InvalidInput
from whyserve.model.choice import TREE_METHOD, MethodChoice, choose_method
from whyserve.model.methods import method_of_interactions
from whyserve.model.outputs import Output
from whyserve.model.scale import Scale, scale_of
from whyserve.model.spec import DEFAULT_BACKGROUND
from whyserve.predict.predictor import Predictor

MOST_SIMILAR = 20
# The options that a job takes as they are.
SAME = ("interactions", "samples", "standard_error", "seed", "players", "summary")


class ExplainOptions(NamedTuple):
    """given: with the defaults of the model. fields: those of the ExplainJob that do not depend on the rows."""

    given: Mapping[str, Any]
    choice: MethodChoice
    scale: Scale | None
    fields: dict[str, Any]

    @classmethod
    def of(cls, predictor: Predictor, given: Mapping[str, Any]) -> Self:
        """given: optional fields of a request, see api.schemas.requests.

        Raises InvalidInput, UnknownLabel and UnsupportedMethod.
        """
        given = {**_defaults(predictor, given), **given}
        method, summary, players = given["method"], given.get("summary", False), given.get("players")
        partition = predictor.partition_of(players)
        if summary and partition.follows_rows:
            partition.for_summary(asked=players is not None)
        if given.get("interactions"):
            method = method_of_interactions("a summary" if summary else method)
            partition.check_interactions()
        limits = given.get("samples"), given.get("standard_error")
        choice = choose_method(predictor.manifest, method, *limits, players=players)
        if players and choice.method != TREE_METHOD:
            partition.check_no_tree(TREE_METHOD)
        scale = scale_of(predictor.spec, given.get("scale"), given.get("instead_of"))
        _check_similar(predictor, given)
        language = given["language"] if given.get("reasons") else None
        fields = {name: given[name] for name in SAME if name in given}
        fields |= {"method": method, "scale": scale, "reasons": language, "similar": given.get("similar")}
        return cls(given, choice, scale, fields)

    def outputs(self, predictor: Predictor, predicted: np.ndarray) -> list[list[Output]]:
        """The outputs to explain, by row. predicted: (rows, columns). Raises UnknownLabel and InvalidInput."""
        found = predictor.outputs.wanted(self.given["outputs"], predicted, self.given.get("instead_of"))
        return predictor.outputs.including(found, predictor.reasons.against) if self.given.get("reasons") else found


def _defaults(predictor: Predictor, given: Mapping[str, Any]) -> dict[str, Any]:
    """The options that were not given. Raises InvalidInput if the model or the other options allow no reasons."""
    common = {"method": "auto", "background": DEFAULT_BACKGROUND}
    if not given.get("reasons"):
        if "language" in given:
            raise InvalidInput('"language" is the language of reasons; send "reasons": true', field="language")
        return {**common, "outputs": "all" if given.get("summary") else "top"}
    for other in ("summary", "players", "instead_of"):
        if given.get(other) not in (None, False):
            words = f'"reasons" are those of each row for the outcome in model.toml; send no "{other}"'
            raise InvalidInput(words, field="reasons")
    spec = predictor.reasons
    known = (spec.language, *spec.languages)
    if given.get("language", spec.language) not in known:
        raise InvalidInput(f'"language" must be one of {", ".join(known)}', field="language")
    return {**common, "outputs": [spec.against], "background": spec.background, "language": spec.language}


def _check_similar(predictor: Predictor, given: Mapping[str, Any]) -> None:
    """Raises InvalidInput if the similar rows that were asked for cannot be shown."""
    count: int | None = given.get("similar")
    spec, is_own = predictor.spec, isinstance(given["background"], str)
    fault = None
    if count is None:
        return
    if not 0 <= count <= MOST_SIMILAR:
        fault = f"must be 0 to {MOST_SIMILAR}"
    elif given.get("summary"):
        fault = 'a summary has no similar rows; send no "summary"'
    elif not spec.is_table:
        fault = f"{spec.name} has inputs that are not tabular"
    elif count and is_own and not spec.explain.show_background:
        fault = "model.toml does not allow to show the background (explain.show_background); send 0, or a background"
    if fault:
        raise InvalidInput(f'"similar": {fault}', field="similar")
