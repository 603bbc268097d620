"""Response types of the Open Inference Protocol and of KServe's V1, for the OpenAPI document."""

from typing import Any, Literal

from whyserve.api.oip.encoding import DATATYPES
from whyserve.api.schemas.types import list_of, one_of, optional, typed_dict
from whyserve.model.methods import Method

STATISTICS = (
    "success", "fail", "queue", "compute_input", "compute_infer", "compute_output", "cache_hit", "cache_miss"
)  # fmt: skip
Datatype: Any = one_of(DATATYPES)

OipError = typed_dict("OipError", {"error": str}, "An error under /v1 and /v2.")

ServerMetadata = typed_dict("ServerMetadata", {"name": str, "version": str, "extensions": list[str]})
ServerLive = typed_dict("ServerLive", {"live": bool})
ServerReady = typed_dict("ServerReady", {"ready": bool})
ServedModels = typed_dict("ServedModels", {"models": list[str]})

TensorMetadata = typed_dict(
    "TensorMetadata",
    {"name": str, "datatype": Datatype, "shape": list[int]},
    "shape: -1 stands for any number of rows.",
)
TENSORS = list_of(TensorMetadata)
ModelMetadata = typed_dict(
    "ModelMetadata",
    {"name": str, "versions": list[str], "platform": str, "inputs": TENSORS, "outputs": TENSORS},
)
ModelReady = typed_dict("ModelReady", {"name": str, "ready": bool})
IndexEntry = typed_dict("IndexEntry", {"name": str, "version": str, "state": Literal["READY"], "reason": str})

Durations = typed_dict("DurationStatistics", {"count": int, "ns": int}, "ns: nanoseconds in total.")
BatchStatistics = typed_dict("BatchStatistics", {"batch_size": int, "compute_infer": Durations})
ModelStatistics = typed_dict(
    "ModelStatistics",
    {
        "name": str,
        "version": str,
        "last_inference": int,
        "inference_count": int,
        "execution_count": int,
        "inference_stats": typed_dict("InferenceStatistics", dict.fromkeys(STATISTICS, Durations)),
        "batch_stats": list_of(BatchStatistics),
        "memory_usage": list[dict[str, Any]],
    },
    "last_inference: milliseconds since the epoch.",
)
StatisticsList = typed_dict("StatisticsList", {"model_stats": list_of(ModelStatistics)})

ResponseTensor = typed_dict(
    "ResponseTensor",
    {
        "name": str,
        "datatype": Datatype,
        "shape": list[int],
        "data": optional(list[Any]),
        "parameters": optional(typed_dict("ResponseParameters", {"binary_data_size": int})),
    },
    "data: in row-major order. A tensor sent as bytes has their number in `parameters` instead.",
)
RESPONSE = {"model_name": str, "model_version": str, "id": str, "outputs": list_of(ResponseTensor)}
InferResponse = typed_dict("InferResponse", RESPONSE)
TEXTS = ("method_reason", "reliable_reason", "scale", "instead_of", "measured_players", "device", "certified_on")
ExplanationParameters = typed_dict(
    "ExplanationParameters",
    {
        "manifest": str,
        "method": Method,
        **dict.fromkeys(TEXTS, optional(str)),
        **dict.fromkeys(("reliable", "complete", "cached"), optional(bool)),
        "samples": optional(int),
        "expected_distance": optional(float),
        "background": str,
        "background_sha256": str,
    },
    "The fields of /explain's answer that are not tensors.",
)
ExplainTensorsResponse = typed_dict(
    "ExplainTensorsResponse",
    {**RESPONSE, "parameters": ExplanationParameters},
    "outputs: attributions, base_values, residuals, values, outputs; for methods that sample also standard_errors; if"
    " the request asks for them, interactions, players, reasons, similar, more_unusual_share.",
)

KservePredictResponse = typed_dict(
    "KservePredictResponse", {"predictions": list[dict[str, Any]]}, "predictions: as in the answer of /predict."
)
