"""The shapes of the Open Inference Protocol's and KServe's requests and answers, for the OpenAPI document.

What a request may hold is contract.py's; here is what an answer holds, and what an explanation's parameters may be.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from whyserve.api.oip.encoding import DATATYPES
from whyserve.api.oip.schema import LENIENT
from whyserve.api.schemas.models import explain_options, make_typed_dict, one_of, typed_dict
from whyserve.model.methods import Method

Datatype: Any = one_of(DATATYPES)


class OipError(TypedDict):
    """What went wrong, under /v1 and /v2."""

    error: str


class ServerMetadata(TypedDict):
    name: str
    version: str
    extensions: list[str]


class ServerLive(TypedDict):
    live: bool


class ServerReady(TypedDict):
    ready: bool


class ServedModels(TypedDict):
    models: list[str]


class TensorMetadata(TypedDict):
    """shape: -1 is any number of rows."""

    name: str
    datatype: Datatype
    shape: list[int]


class ModelMetadata(TypedDict):
    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class ModelReady(TypedDict):
    name: str
    ready: bool


class IndexEntry(TypedDict):
    name: str
    version: str
    state: Literal["READY"]
    reason: str


class DurationStatistics(TypedDict):
    """ns: nanoseconds, all together."""

    count: int
    ns: int


class InferenceStatistics(TypedDict):
    success: DurationStatistics
    fail: DurationStatistics
    queue: DurationStatistics
    compute_input: DurationStatistics
    compute_infer: DurationStatistics
    compute_output: DurationStatistics
    cache_hit: DurationStatistics
    cache_miss: DurationStatistics


class BatchStatistics(TypedDict):
    batch_size: int
    compute_infer: DurationStatistics


class ModelStatistics(TypedDict):
    """last_inference: milliseconds since the epoch."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: InferenceStatistics
    batch_stats: list[BatchStatistics]
    memory_usage: list[dict[str, Any]]


class StatisticsList(TypedDict):
    model_stats: list[ModelStatistics]


class AnsweredParameters(TypedDict):
    binary_data_size: int


class AnsweredTensor(TypedDict):
    """data: row by row; of a tensor that goes as bytes, `parameters` has their number instead."""

    name: str
    datatype: Datatype
    shape: list[int]
    data: NotRequired[list[Any]]
    parameters: NotRequired[AnsweredParameters]


class InferResponse(TypedDict):
    model_name: str
    model_version: str
    id: str
    outputs: list[AnsweredTensor]


class ExplanationParameters(TypedDict):
    """What /explain says beside its explanations. explanation: its id."""

    explanation: str
    manifest: str
    method: Method
    method_reason: NotRequired[str]
    expected_distance: NotRequired[float]
    complete: NotRequired[bool]
    cached: NotRequired[bool]


class ExplainTensorsResponse(TypedDict):
    """outputs: attributions, base_values, residuals, values, outputs and, where it samples, standard_errors."""

    model_name: str
    model_version: str
    id: str
    parameters: ExplanationParameters
    outputs: list[AnsweredTensor]


class KservePredictResponse(TypedDict):
    """Each as /predict answers."""

    predictions: list[dict[str, Any]]


# Of /explain's options, what these protocols take too; which outputs there are, the address says.
OUTPUTS = "Which outputs to explain: the one predicted, all, or some by name."
OPTIONS = {
    **{key: of for key, of in explain_options(("any",), str).items() if key not in ("outputs", "summary")},
    "outputs": NotRequired[Annotated[Literal["top", "all"] | list[str], Field(description=OUTPUTS)]],
}


@with_config(LENIENT)
class InferParameters(TypedDict):
    """binary_data_output: every output as bytes, unless it says otherwise itself."""

    binary_data_output: NotRequired[bool]


ExplainParameters = with_config(LENIENT)(
    make_typed_dict("ExplainParameters", {"binary_data_output": NotRequired[bool], **OPTIONS})
)


def kserve_requests(most: int) -> tuple[Any, Any]:
    """V1's requests to predict and to explain. most: instances that there may be."""
    words = "Rows as /predict takes them; or, of a model with one input, that input's numbers."
    instances = {"instances": Annotated[list[Any], Field(min_length=1, max_length=most, description=words)]}
    return typed_dict("KservePredictRequest", instances), typed_dict("KserveExplainRequest", instances | OPTIONS)
