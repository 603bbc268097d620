"""Numbers, methods and residuals as text. The web page has its own version (ui/src/format.ts)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from whyserve.model.methods import METHODS
from whyserve.model.spec import OutputSpec

# A smaller residual, relative to |value − base value|, is rounding.
ROUNDING = 1e-4
# By the scale of an answer: what its numbers are. A difference is in the unit of the output.
NAMED = {"log_odds": "log-odds", "log_ratio": "log ratio"}


def plain(number: float, digits: int = 4) -> str:
    """A number with `digits` significant digits: 12.34, −0.5, 12,350, 1.23e−05. A boolean is true or false."""
    if isinstance(number, bool):
        return "true" if number else "false"
    size = abs(number)
    if size and (size < 1e-4 or size >= 1e7):
        return f"{number:.2e}".replace("-", "−")
    text = f"{float(f'{number:.{digits}g}'):,.10f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text.replace("-", "−")


@dataclass(frozen=True, slots=True)
class Scale:
    """How the numbers of an output are written. percent: the output is a probability. unit: for a change of it."""

    percent: bool
    unit: str

    @classmethod
    def of(cls, output: OutputSpec, scale: str | None = None) -> "Scale":
        """scale: that of the answer, if it names one."""
        if scale in NAMED:
            return cls(False, NAMED[scale])
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
    """A sentence about the residual."""
    span = abs(output["value"] - output["base_value"])
    residual = abs(output["residual"])
    if residual <= ROUNDING * span or not scale.change(residual).strip("+0."):
        return "average and attributions together are the prediction, to rounding"
    share = f", {100 * residual / span:.1f} % of what was to explain" if span else ""
    return f"{scale.change(output['residual'])} is left unexplained{share}"


def facts(answer: Mapping[str, Any], output: Mapping[str, Any], scale: Scale) -> list[str]:
    """How the output was explained: the lines below a picture."""
    method, used = answer["method"], answer["background"]
    name = {"default": "the background", "request": "the background of the request"}.get(
        used["name"], f"the background “{used['name']}”"
    )
    stopped = "" if answer.get("complete", True) else ", stopped by its deadline"
    distance = answer.get("expected_distance")
    accuracy = f"; on rows of this model {plain(100 * distance, 2)} % from the reference" if distance else ""
    rows = "1 row" if used["rows"] == 1 else f"{used['rows']} rows"
    first: Mapping[str, Any] = next(iter(answer.get("explanations", [])), {})
    outside = [
        f"{one['feature']} = {plain(one['value'])} (range {plain(one['low'])} to {plain(one['high'])})"
        for one in first.get("out_of_range", [])
    ]
    doubt = answer.get("reliable_reason")
    return [
        *([f"Do not rely on this explanation: {doubt}."] if doubt else []),
        *([f"Do not rely on this: outside the model's range: {', '.join(outside)}."] if outside else []),
        f"Method: {method}, {METHODS[method].words}{stopped}{accuracy}.",
        f"Adds up: {adds_up(output, scale)}.",
        f"Compared with: {name}, {rows} ({used['sha256'][:8]}…). {answer['model']}, version {answer['version']}.",
    ]
