"""model.toml: the description that a person writes for a model."""

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator

from whyserve.errors import InvalidInput, ModelFault, first_line
from whyserve.model.changes import CounterfactualSpec, check_changes
from whyserve.model.input_spec import Feature, InputSpec, Strict, has_tokenizer, one_line, repeated
from whyserve.model.methods import METHODS, NEEDS_NUMBERS, NEEDS_TORCH, Method
from whyserve.model.players import Partition
from whyserve.model.reasons import ReasonsSpec

SPEC_FILE = "model.toml"
KERAS_FILE = "model.keras"
NETWORK_FILE = "network.py"
WEIGHTS_FILE = "weights.safetensors"
ONNX_FILE = "model.onnx"  # the served network of every model, and the original of an ONNX model
NETWORK_FILES = {"keras": (KERAS_FILE,), "torch": (NETWORK_FILE, WEIGHTS_FILE), "onnx": (ONNX_FILE,)}
EXAMPLE_FILE = "example.json"
TOKENIZER_FILE = "tokenizer.json"
Scores = Literal["probabilities", "logits", "values"]
ScaleName = Literal["output", "log_odds"]
Task = Literal["classification", "multilabel", "regression"]
# A name appears in URLs, in file names and in generated code. KServe's names of services have dashes and dots.
NAME, LONGEST_NAME = r"^[a-z][a-z0-9_]*((-+|\.)[a-z0-9_]+)*$", 64
ModelName = Annotated[str, StringConstraints(pattern=NAME, max_length=LONGEST_NAME)]
RESERVED_NAMES = {"stats"}  # /v2/models/stats is an endpoint
# The names of the background in model.toml and of a background that a request brings.
DEFAULT_BACKGROUND, REQUEST_BACKGROUND = "default", "request"


class OutputSpec(Strict):
    """What the network returns. `labels` for a classification or multilabel, `names` for a regression.

    thresholds: of multilabel, for each label the probability from which it is on. Default: 0.5.
    """

    labels: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    unit: str | None = None
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
    scores: Scores = "probabilities"
    tensor: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "output"  # its name in ONNX


class ExplainSpec(Strict):
    """backgrounds: the files of further backgrounds by name; a request can choose one. The certificate describes
    `background` and `scale` only.
    samples: of `method`, for a request that names no number.
    players: what gets one attribution each, by input; see whyserve.model.vocabulary. Default: every element.
    show_background: whether answers may show rows of the backgrounds.
    """

    method: Method = "auto"
    samples: Annotated[int, Field(ge=1, le=100_000)] | None = None
    scale: ScaleName = "output"
    background: str = "background.npz"
    backgrounds: dict[ModelName, str] = Field(default_factory=dict)
    players: dict[str, Any] = Field(default_factory=dict)
    show_background: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if taken := {DEFAULT_BACKGROUND, REQUEST_BACKGROUND} & set(self.backgrounds):
            raise ValueError(f'the background name "{min(taken)}" is reserved; choose another name')
        if self.samples and not (self.method in METHODS and METHODS[self.method].samples):
            raise ValueError(f'samples needs a method that samples; method is "{self.method}"')
        return self

    @property
    def files(self) -> dict[str, str]:
        """The file of each background, by name."""
        return {DEFAULT_BACKGROUND: self.background, **self.backgrounds}


class Score(Strict):
    """The quality of the model on data that was not used to train it."""

    metric: str
    value: float
    on: str


class Precision(Strict):
    """The precision of a network that is served as its copy in float32.

    original: the smallest type of its numbers. largest: the largest |difference| between the outputs of both for the
    background, as a share of the output's scale. bound: what rounding to the original's type explains.
    """

    original: str
    largest: float
    bound: float

    @property
    def text(self) -> str:
        """For people."""
        gaps = f"differs by at most {self.largest:.0e} of the output's scale (bound: {self.bound:.0e})"
        return f"the original in {self.original} {gaps}"


class RecordSpec(Strict):
    """What the decision record does not hold. A column is a key of an instance, or "id".

    omit: columns that are left out. hash: columns whose values are replaced by a keyed hash.
    """

    omit: tuple[str, ...] = ()
    hash: tuple[str, ...] = ()


class ModelSpec(Strict):
    """model.toml."""

    name: ModelName
    version: Annotated[int, Field(ge=1)] = 1
    framework: Literal["keras", "torch", "onnx"]
    task: Task
    description: str = ""
    source: str = ""
    score: Score | None = None
    inputs: Annotated[tuple[InputSpec, ...], Field(min_length=1)]
    output: OutputSpec
    explain: ExplainSpec = ExplainSpec()
    reasons: ReasonsSpec | None = None
    counterfactual: CounterfactualSpec = CounterfactualSpec()
    record: RecordSpec = RecordSpec()
    precision: Precision | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise ValueError(f'the model name "{self.name}" is reserved for an endpoint; choose another name')
        labels, names, thresholds = self.output.labels, self.output.names, self.output.thresholds
        if self.task == "classification" and (len(labels) < 2 or names):
            raise ValueError("a classification needs at least two output.labels and no output.names")
        if self.task == "multilabel" and (not labels or names or self.output.scores == "values"):
            raise ValueError(
                'multilabel needs output.labels, no output.names, and output.scores = "probabilities" or "logits"'
            )
        if self.task == "regression" and (labels or not names):
            raise ValueError("a regression needs output.names, one for each network output, and no output.labels")
        why = NEEDS_TORCH if self.framework == "onnx" else NEEDS_NUMBERS if self.takes_nan else ""
        if why and self.explain.method in METHODS and METHODS[self.explain.method].gradients:
            raise ValueError(f'explain.method is "{self.explain.method}", but {why}')
        if self.task == "regression" and self.explain.scale == "log_odds":
            raise ValueError('explain.scale is "log_odds", but the output of a regression is no probability')
        if thresholds and (self.task != "multilabel" or len(thresholds) != len(labels)):
            raise ValueError('output.thresholds needs task = "multilabel", and one number for each of output.labels')
        for what, given in (
            ("label", self.output.labels),
            ("output name", self.output.names),
            ("input", [i.name for i in self.inputs]),
            ("feature or input name", self.keys),
            *((f'category of "{name}":', categories) for name, categories in self.categories.items()),
        ):
            if twice := repeated(given):
                raise ValueError(f'the {what} "{twice[0]}" appears twice')
        if taken := self.groups & set(self.keys):
            raise ValueError(f'the group "{min(taken)}" has the name of a feature or an input; choose another name')
        return self

    @model_validator(mode="after")
    def _fits_the_inputs(self) -> Self:
        """The sections that name features and inputs."""
        try:
            Partition(self)
        except InvalidInput as fault:
            raise ValueError(f"explain: {fault.message}") from None
        if self.reasons:
            self.reasons.check_model(self)
        try:
            check_changes(self, self.counterfactual.changes, "counterfactual.changes")
        except InvalidInput as fault:
            raise ValueError(fault.message) from fault
        if unknown := set(self.record.omit + self.record.hash) - {*self.keys, "id"}:
            raise ValueError(f'record names "{min(unknown)}", which is no key of an instance')
        return self

    @property
    def is_table(self) -> bool:
        """Whether every input is tabular."""
        return all(item.is_tabular for item in self.inputs)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of an instance: each tabular feature, and each other input."""
        return tuple(key for item in self.inputs for key in item.keys)

    @property
    def features(self) -> list[tuple[InputSpec, int, Feature]]:
        """Every feature, with its input and its column there."""
        return [(item, column, feature) for item in self.inputs for column, feature in enumerate(item.features)]

    @property
    def categories(self) -> dict[str, tuple[str, ...]]:
        """The categories of each feature that has some."""
        return {f.name: f.categories for _, _, f in self.features if f.categories}

    def members(self, group: str) -> list[str]:
        """The names of the features of a group."""
        return [f.name for _, _, f in self.features if f.group == group]

    @property
    def takes_nan(self) -> bool:
        """Whether the network may get NaN for a missing value."""
        return any(item.takes_nan for item in self.inputs)

    @property
    def groups(self) -> set[str]:
        """The names of groups of features."""
        return {f.group for _, _, f in self.features if f.group}

    @property
    def output_names(self) -> tuple[str, ...]:
        """The names that a request can ask for: the labels, or the output names of a regression."""
        return self.output.labels or self.output.names

    @property
    def width(self) -> int:
        """The number of columns that the network returns. Two labels may also share one sigmoid output."""
        return len(self.output_names)

    @property
    def outputs_asked(self) -> int:
        """The number of outputs that "top" explains: the most likely label, or every output of a regression."""
        return self.width if self.task == "regression" else 1

    @property
    def output_keywords(self) -> tuple[str, ...]:
        """What a request to explain can ask for instead of names of outputs; see Outputs.wanted."""
        return ("top", "all", "positive") if self.task == "multilabel" else ("top", "all")

    def accepts_width(self, columns: int) -> bool:
        return columns == self.width or (columns == 1 and len(self.output.labels) == 2 and self.task != "multilabel")

    @property
    def source_files(self) -> tuple[str, ...]:
        """The files that a model folder must have; the manifest holds their digests."""
        tokenizers = dict.fromkeys(item.tokenizer for item in self.inputs if item.tokenizer)
        texts = self.reasons.languages.values() if self.reasons else ()
        return (SPEC_FILE, *NETWORK_FILES[self.framework], *self.explain.files.values(), *tokenizers, *texts)


def read_spec(folder: Path) -> ModelSpec:
    """Read and check folder/model.toml.

    If the folder has a tokenizer.json, it becomes the tokenizer of each input of kind tokens that names no other file.
    Raises ModelFault, which names the file and the fault.
    """
    path = folder / SPEC_FILE
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        if (folder / TOKENIZER_FILE).is_file():
            _set_tokenizer(data)
        spec = ModelSpec.model_validate(data)
    except OSError as error:
        raise unreadable(f"{folder.name}/{SPEC_FILE}", error) from error
    except ValidationError as error:
        raise ModelFault(f"{folder.name}/{SPEC_FILE}: {one_line(error)}") from error
    except (ValueError, RecursionError) as error:
        raise ModelFault(f"{folder.name}/{SPEC_FILE}: not valid TOML: {first_line(error)}") from error
    if spec.name != folder.name:
        raise ModelFault(
            f'{folder.name}/{SPEC_FILE}: name is "{spec.name}", but the folder is "{folder.name}"; use the same name'
        )
    return spec


def unreadable(place: str, error: OSError, hint: str = "") -> ModelFault:
    """The fault of a file that the operating system does not let us read. hint: what to do, if there is more."""
    return ModelFault(f"{place}: cannot be read: {error.strerror}{hint and '; '}{hint}")


def _set_tokenizer(data: dict[str, Any]) -> None:
    items = data.get("inputs")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict) and has_tokenizer(str(item.get("kind"))):
            item.setdefault("tokenizer", TOKENIZER_FILE)


def check_name(name: str) -> None:
    """Raises ModelFault if a folder's name is not a valid model name."""
    if not is_name(name) or name in RESERVED_NAMES:
        raise ModelFault(
            f'"{name}" is not a valid model name; start with a lower-case letter, then use lower-case letters, digits,'
            f" _, and between them - or ., at most {LONGEST_NAME} characters in all"
        )


def is_name(name: str) -> bool:
    """Whether a model may have this name."""
    return len(name) <= LONGEST_NAME and re.fullmatch(NAME, name) is not None
