"""Response types that are equal for all models, for the OpenAPI document."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from whyserve.api.openapi.components import parameter
from whyserve.jobs import JobStatus
from whyserve.model.spec import Task


class Fault(TypedDict):
    """One fault in a request."""

    message: str
    instance: NotRequired[int]
    field: NotRequired[str]


class Problem(TypedDict):
    """An error (RFC 9457). `code` never changes; `detail` is for people."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: NotRequired[list[Fault]]


class ModelSummary(TypedDict):
    """A served model. providers: what ONNX Runtime uses besides the CPU; absent: the CPU alone."""

    name: str
    version: int
    framework: Literal["keras", "torch", "onnx"]
    task: Task
    description: str
    outputs: list[str]
    method: str
    providers: NotRequired[list[str]]


class ModelList(TypedDict):
    models: list[ModelSummary]


class JobFault(TypedDict):
    code: str
    detail: str


class ExplanationState(TypedDict):
    """The progress of an explanation. When `status` is done, `result` is an explanation or a summary.

    standard_error: only for methods that sample; mean standard error so far, divided by mean |attribution|.
    """

    id: str
    status: JobStatus
    progress: float
    standard_error: NotRequired[float]
    result: NotRequired[dict[str, Any]]  # document.py refines this type
    error: NotRequired[JobFault]


class TrialWithinBudget(TypedDict):
    """A method that samples, with the number of samples that fits into a time budget. See MethodTrial."""

    samples: int
    residual: float
    residual_of_effect: float
    distance: NotRequired[float]
    counted_ms: float
    ms_per_row: float
    standard_error: NotRequired[float]


class MethodTrial(TypedDict):
    """One method on this model: why it does not fit, or what was measured at export.

    residual: divided by the output's scale. residual_of_effect: divided by the largest |value − base value|.
    counted_ms: the expected time per row by its counted work. ms_per_row: as measured. distance: to the reference,
    divided by mean |attribution|.
    """

    fits: bool
    why: NotRequired[str]
    samples: NotRequired[int]
    residual: NotRequired[float]
    residual_of_effect: NotRequired[float]
    distance: NotRequired[float]
    counted_ms: NotRequired[float]
    ms_per_row: NotRequired[float]
    standard_error: NotRequired[float]
    within_budget: NotRequired[TrialWithinBudget]
    within_budget_max: NotRequired[TrialWithinBudget]


class Certificate(TypedDict):
    """How well each method explains this model, on the device. reference: the method that distances are measured to.

    players: what every figure was measured for, as in a request; empty: the elements. players_reason: why the export
    chose them.
    rows: number of measured rows. samples: the default method's number of samples if the request names neither a
    method nor samples; if absent, the method's own default.
    """

    device: NotRequired[str]
    reference: str
    rows: int
    methods: dict[str, MethodTrial]
    default: str
    reason: str
    players: dict[str, Any]
    players_reason: NotRequired[str]
    samples: NotRequired[int]


class Live(TypedDict):
    status: Literal["live"]


class Ready(TypedDict):
    """workers: the number of workers that can explain the served models."""

    status: Literal["ready"]
    models: list[str]
    workers: int


# A worker draws an explanation as a picture.
PICTURES = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/svg+xml", "image/png")}
PICTURE_PARAMETERS = [
    parameter("instance", "query", "The instance in the picture, from 0. Default: 0.", type="integer", minimum=0),
    parameter("output", "query", "The explained output in the picture. Default: the first one."),
]
