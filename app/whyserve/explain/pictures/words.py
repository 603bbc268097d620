"""Numbers and methods in words: the same that the page has."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whyserve.model.methods import METHODS
from whyserve.model.spec import OutputSpec

# In parts of what is to be explained: less is rounding.
ROUNDING = 1e-4


def plain(number: float, digits: int = 4) -> str:
    """12.34, −0.5, 12,350; 1.23e−05."""
    size = abs(number)
    if size and (size < 1e-4 or size >= 1e7):
        return f"{number:.2e}".replace("-", "−")
    text = f"{float(f'{number:.{digits}g}'):,.10f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", "−")


@dataclass(frozen=True, slots=True)
class Scale:
    """How an output is written. percent: it is a probability. unit: its unit, or what it is."""

    percent: bool
    unit: str

    @classmethod
    def of(cls, output: OutputSpec) -> "Scale":
        if output.scores == "probabilities" and output.labels:
            return cls(True, "percentage points")
        if output.scores == "logits":
            return cls(False, "logit, the score before it becomes a probability")
        return cls(False, output.unit or "")

    def value(self, number: float) -> str:
        if self.percent:
            return f"{100 * number:.1f} %"
        return plain(number) + (f" {self.unit}" if self.unit and not self.unit.startswith("logit") else "")

    def change(self, number: float) -> str:
        text = f"{abs(100 * number):.1f}" if self.percent else plain(abs(number), 3)
        if not text.strip("0."):
            return text
        return ("−" if number < 0 else "+") + text

    def axis(self, number: float) -> str:
        return f"{plain(100 * number)} %" if self.percent else plain(number)


def adds_up(output: Mapping[str, Any], scale: Scale) -> str:
    """What the attributions leave over, in words."""
    span = abs(output["value"] - output["base_value"])
    residual = abs(output["residual"])
    if residual <= ROUNDING * span or not scale.change(residual).strip("+0."):
        return "average and attributions together are the prediction, to rounding"
    share = f", {100 * residual / span:.1f} % of what was to explain" if span else ""
    return f"{scale.change(output['residual'])} is left unexplained{share}"


def facts(answer: Mapping[str, Any], output: Mapping[str, Any], scale: Scale) -> list[str]:
    """How it was explained, a line each."""
    method, used = answer["method"], answer["background"]
    name = {"default": "the background", "request": "the background of the request"}.get(
        used["name"], f"the background “{used['name']}”"
    )
    cut = "" if answer.get("complete", True) else ", cut short by its deadline"
    distance = answer.get("expected_distance")
    tried = f"; on rows of this model {plain(100 * distance, 2)} % from the reference" if distance else ""
    rows = "1 row" if used["rows"] == 1 else f"{used['rows']} rows"
    return [
        f"Method: {method}, {METHODS[method].words}{cut}{tried}.",
        f"Adds up: {adds_up(output, scale)}.",
        f"Compared with: {name}, {rows} ({used['sha256'][:8]}…). {answer['model']}, version {answer['version']}.",
    ]
