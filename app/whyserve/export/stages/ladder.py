"""The ladder of players: the export explains a model in the finest players that are accurate in time.

A model.toml may name the players. Otherwise the elements of an input are tried first, then coarser parts that people
know: patches of a picture, windows of a series, words of a text.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from whyserve.errors import WhyserveError
from whyserve.explain.certificate.certify import certify
from whyserve.explain.game.base import Explainer, Inputs, Stopped
from whyserve.explain.game.network import Network
from whyserve.explain.methods.exact import MOST_PLAYERS
from whyserve.explain.models.row_games import game_players, prepared
from whyserve.model.choice import default_figures
from whyserve.model.input_spec import InputSpec
from whyserve.model.players import Partition
from whyserve.model.spec import ModelSpec
from whyserve.model.text import TextReader

# A rung is fine enough if a method within the budget is this near to exact values.
NEAR = 0.05
# Counted seconds for the exact values of a rung. Without them, a rung is not taken for its accuracy.
EXACT_S = 5.0


@dataclass(frozen=True, slots=True)
class Certified:
    """The players that requests get by default, and their certificate, with `players` and `players_reason`."""

    partition: Partition
    certificate: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ladder:
    """budgets_ms: as for certify. asked, examples, on_method: as for certify. texts: the reader of each text input."""

    spec: ModelSpec
    network: Network
    background: Inputs
    budgets_ms: tuple[float, float]
    asked: Callable[[np.ndarray], list[list[int]]]
    on_method: Callable[[str], None]
    examples: Inputs | None = None
    texts: Mapping[str, TextReader] = field(default_factory=dict)

    def prepare(self, partition: Partition, method: str, network: Network | None = None) -> Explainer:
        """A method for a network; None means the model's."""
        network = network or self.network
        return prepared(method, network, self.background, self.spec, partition, texts=self.texts)

    def certified(self) -> Certified:
        """The players of model.toml, or the finest ones with a method near exact values within the budget.

        Elements get the most accurate method within the budget. Coarser players get the fastest one that is near
        enough: a person who wants more accuracy asks for it. If no players are near enough, the finest ones of at most
        MOST_PLAYERS players, else the elements. Players that follow the rows are counted in one row.
        Raises WhyserveError if no method fits.
        """
        first, *coarser = rungs(self.spec)
        if not coarser:
            return self._certified(Partition(self.spec, first))
        share, (budget_ms, _) = f"{NEAR:.0%} of exact values", self.budgets_ms
        every = [Partition(self.spec, players) for players in (first, *coarser)]
        # Exact values may be known of these. The words of a row are counted when it is explained.
        tried = [each for each in every if each.follows_rows or each.fixed.count <= MOST_PLAYERS]
        for partition in tried:
            with suppress(Stopped, WhyserveError):
                found = self._certified(partition, is_tried=True)
                figures = default_figures(found.certificate)
                if figures["distance"] <= NEAR and figures["counted_ms"] <= budget_ms:
                    reason = f"finest players within {share} in {budget_ms:g} ms per row"
                    found.certificate["players_reason"] = reason
                    return found
        found = self._certified(tried[0] if tried else Partition(self.spec, first))
        which = f"finest of at most {MOST_PLAYERS} players" if tried else f"all have over {MOST_PLAYERS} players"
        reason = f"{which}; none are known to be within {share} in {budget_ms:g} ms per row"
        found.certificate["players_reason"] = reason
        return found

    def _certified(self, partition: Partition, *, is_tried: bool = False) -> Certified:
        explain = self.spec.explain
        chosen = None if explain.method == "auto" else (explain.method, explain.samples)
        elements = Partition(self.spec, {}) if partition.follows_rows else partition
        certificate = certify(
            self.network, self.background, game_players(elements.fixed), *self.budgets_ms, asked=self.asked,
            examples=self.examples, on_method=self.on_method, make=partial(self.prepare, partition),
            exact_within_s=EXACT_S if is_tried else None,
            near=NEAR if is_tried and partition.wanted else None, chosen=chosen,
        )  # fmt: skip
        return Certified(partition, {"players": partition.wanted, **certificate})


def rungs(spec: ModelSpec) -> list[dict[str, Any]]:
    """The players to try, from fine to coarse, as `players` in a request.

    Only one if model.toml names the players, the method or reasons, which name players.
    """
    if spec.explain.players or spec.explain.method != "auto" or spec.reasons:
        return [spec.explain.players]
    by_input = {item.name: steps for item in spec.inputs if (steps := _coarser(item))}
    most = max(map(len, by_input.values()), default=0)
    return [{}, *({name: steps[min(at, len(steps) - 1)] for name, steps in by_input.items()} for at in range(most))]


def _coarser(item: InputSpec) -> list[dict[str, Any]]:
    """Players coarser than the elements of an input, from fine to coarse."""
    if axes := item.image_axes():
        return [{"patches": [number, number]} for number in (4, 3, 2) if number < min(axes[:2])]
    if item.kind == "sequence":
        return [{"windows": number} for number in (10, 5) if number < item.shape[0]]
    return [{"words": True}] if item.tokenizer else []
