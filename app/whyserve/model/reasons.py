"""[reasons] of model.toml: the outcome to explain to people, and a text for each feature in each language."""

import tomllib
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, StringConstraints, ValidationError

from whyserve.errors import ModelFault, first_line
from whyserve.model.input_spec import Label, Strict, one_line
from whyserve.model.players import Partition

if TYPE_CHECKING:
    from whyserve.model.spec import ModelSpec

LISTED = "{reasons}"  # where a sentence lists the texts
MOST_REASONS = 20
Language = Annotated[str, StringConstraints(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{1,8}){0,3}$")]
Words = Annotated[str, StringConstraints(min_length=1, max_length=1000)]
Sentence = Annotated[str, StringConstraints(pattern=r"\{reasons\}", max_length=1000)]


class ReasonText(Strict):
    """A feature as a reason. raises, lowers: its text where it raised or lowered the output."""

    code: Label
    raises: Words
    lowers: Words


class ReasonTexts(Strict):
    """The texts of one language.

    sentence, otherwise: the sentence for a row with the outcome, and for any other row. {reasons} is where the texts
    stand. texts: by feature or group of features.
    """

    sentence: Sentence = "The main reasons for this decision: {reasons}."
    otherwise: Sentence = "The main reasons for this decision: {reasons}."
    texts: dict[str, ReasonText]

    def check(self, spec: "ModelSpec", never: tuple[str, ...], place: str) -> None:
        """Raises ValueError if a feature has no text, or a text no feature. place: of the texts."""
        known = set(Partition(spec).fixed.names)
        if unknown := (set(self.texts) | set(never)) - known:
            raise ValueError(f'{place}: "{min(unknown)}" is neither a feature without a group nor a group')
        if missing := known - set(self.texts) - set(never):
            raise ValueError(f'{place}.texts: "{min(missing)}" has no text; add one, or list it in reasons.never')


class ReasonsSpec(ReasonTexts):
    """[reasons].

    against: the output whose outcome is explained: a label, or the name of a regression's output.
    threshold: the outcome is an output of at least `threshold`; below: of less than it. Default for a label: it is
        the most likely one, or it is on.
    most: how many reasons are named at most. background: the background that reasons compare with.
    never: features or groups that are never named.
    language: of the texts in model.toml. languages: a file with a ReasonTexts for each further language.
    """

    against: str
    threshold: float | None = None
    below: bool = False
    most: Annotated[int, Field(ge=1, le=MOST_REASONS)] = 4
    background: str = "default"
    never: tuple[str, ...] = ()
    language: Language = "en"
    languages: dict[Language, Annotated[str, StringConstraints(pattern=r"^[^/\\]{1,200}\.toml$")]] = Field(
        default_factory=dict
    )

    def check_model(self, spec: "ModelSpec") -> None:
        """Raises ValueError if the reasons do not fit the model."""
        if not spec.is_table:
            raise ValueError("reasons need a model whose inputs are all tabular")
        if self.against not in spec.output_names:
            known = ", ".join(spec.output_names[:20])
            raise ValueError(f"reasons.against is not an output of this model; its outputs: {known}")
        if self.threshold is None and (self.below or spec.task == "regression"):
            raise ValueError("reasons.threshold is missing: it decides for a regression, and with below = true")
        if self.background not in spec.explain.files:
            known = ", ".join(spec.explain.files)
            raise ValueError(f"reasons.background is not a background of this model; its backgrounds: {known}")
        if self.language in self.languages:
            raise ValueError(f'reasons.languages: "{self.language}" is the language of model.toml')
        self.check(spec, self.never, "reasons")


def read_languages(spec: "ModelSpec", read: Callable[[str], bytes]) -> dict[str, ReasonTexts]:
    """The texts of each language, the one of model.toml first; empty for a model without reasons.

    read: reads a file of the model folder. Raises ModelFault, which names the file and the fault.
    """
    if spec.reasons is None:
        return {}
    found: dict[str, ReasonTexts] = {spec.reasons.language: spec.reasons}
    for language, file in spec.reasons.languages.items():
        place = f"{spec.name}/{file}"
        try:
            found[language] = ReasonTexts.model_validate(tomllib.loads(read(file).decode()))
            found[language].check(spec, spec.reasons.never, "reasons")
        except ValidationError as error:
            raise ModelFault(f"{place}: {one_line(error)}") from error
        except (ValueError, RecursionError) as error:
            raise ModelFault(f"{place}: {first_line(error)}") from error
    return found
