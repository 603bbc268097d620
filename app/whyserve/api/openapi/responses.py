"""The shapes of answers that are the same for every model, for the OpenAPI document."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from whyserve.jobs import JobStatus


class Fault(TypedDict):
    """One fault of a request."""

    message: str
    instance: NotRequired[int]
    field: NotRequired[str]


class Problem(TypedDict):
    """What went wrong (RFC 9457). `code` is stable."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: NotRequired[list[Fault]]


class ModelSummary(TypedDict):
    name: str
    version: int
    framework: Literal["keras", "torch"]
    task: Literal["classification", "regression"]
    description: str
    outputs: list[str]
    method: str


class ModelList(TypedDict):
    models: list[ModelSummary]


class JobFault(TypedDict):
    code: str
    detail: str


class ExplanationState(TypedDict):
    """How far an explanation is; `result` is there once `status` is done: an explanation, or a summary.

    standard_error: where it is sampled, the mean standard error so far over the mean |attribution|; it shrinks.
    """

    id: str
    status: JobStatus
    progress: float
    standard_error: NotRequired[float]
    result: NotRequired[dict[str, Any]]  # of whichever model: openapi.py says what that may be
    error: NotRequired[JobFault]


class Fewer(TypedDict):
    """A sampling method with as many samples as the time budget has room for."""

    samples: int
    residual: float
    distance: NotRequired[float]
    ms_per_row: float
    standard_error: NotRequired[float]


class MethodTrial(TypedDict):
    """One method on this model: whether it fits, and why not; or what was measured at export.

    residual: as a share of the output's scale. distance: from the reference, as a share of the mean |attribution|.
    """

    fits: bool
    why: NotRequired[str]
    residual: NotRequired[float]
    distance: NotRequired[float]
    ms_per_row: NotRequired[float]
    standard_error: NotRequired[float]
    within_budget: NotRequired[Fewer]


class Certificate(TypedDict):
    """How well each method explains this model. reference: what distances are to. rows: that were tried.

    samples: what the default method takes where a request names neither a method nor samples; its own, if left out.
    """

    reference: str
    rows: int
    methods: dict[str, MethodTrial]
    default: str
    reason: str
    samples: NotRequired[int]


class Live(TypedDict):
    status: Literal["live"]


class Ready(TypedDict):
    """`workers`: how many explain what is served here."""

    status: Literal["ready"]
    models: list[str]
    workers: int


PROBLEM_CONTENT = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "What is wrong with the request, and where.", "content": PROBLEM_CONTENT},
    "5XX": {"description": "Why it cannot be answered now.", "content": PROBLEM_CONTENT},
}
# An explanation as a picture, drawn by a worker.
PICTURES = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/svg+xml", "image/png")}
PICTURED: list[dict[str, Any]] = [
    {
        "name": "instance",
        "in": "query",
        "required": False,
        "description": "Which instance a picture is of, from 0; the first if left out.",
        "schema": {"type": "integer", "minimum": 0},
    },
    {
        "name": "output",
        "in": "query",
        "required": False,
        "description": "Which of the outputs explained a picture is of; the first if left out.",
        "schema": {"type": "string"},
    },
]
