"""Response types of the Open Inference Protocol and of KServe's V1, for the OpenAPI document."""

from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict

from whyserve.api.oip.encoding import DATATYPES
from whyserve.api.schemas.types import one_of
from whyserve.model.methods import Method

Datatype: Any = one_of(DATATYPES)


class OipError(TypedDict):
    """An error under /v1 and /v2."""

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
    """shape: -1 stands for any number of rows."""

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
    """ns: nanoseconds in total."""

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


class ResponseParameters(TypedDict):
    binary_data_size: int


class ResponseTensor(TypedDict):
    """data: in row-major order. A tensor sent as bytes has their number in `parameters` instead."""

    name: str
    datatype: Datatype
    shape: list[int]
    data: NotRequired[list[Any]]
    parameters: NotRequired[ResponseParameters]


class InferResponse(TypedDict):
    model_name: str
    model_version: str
    id: str
    outputs: list[ResponseTensor]


class ExplanationParameters(TypedDict):
    """The fields of /explain's answer that are not tensors."""

    manifest: str
    method: Method
    method_reason: NotRequired[str]
    expected_distance: NotRequired[float]
    complete: NotRequired[bool]
    cached: NotRequired[bool]


class ExplainTensorsResponse(TypedDict):
    """outputs: attributions, base_values, residuals, values, outputs; for methods that sample also standard_errors."""

    model_name: str
    model_version: str
    id: str
    parameters: ExplanationParameters
    outputs: list[ResponseTensor]


class KservePredictResponse(TypedDict):
    """predictions: as in the answer of /predict."""

    predictions: list[dict[str, Any]]
