"""The server and its models: health, metadata, the repository's index, statistics."""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from whyserve.api.middleware.answers import json_response
from whyserve.api.oip.encoding import name_of
from whyserve.api.oip.infer import find_predictor
from whyserve.api.oip.schema import check_index
from whyserve.api.state import Service
from whyserve.predict.predictor import Predictor
from whyserve.predict.statistics import Duration

EXTENSIONS = ["binary_tensor_data", "classification", "model_repository", "statistics", "explain"]
PLATFORM = "onnx_onnxv1"


def addressed(request: Request) -> Predictor:
    """The predictor that the path names. Raises UnknownModel."""
    predictor = find_predictor(_service(request), request.path_params["model"], request.path_params.get("version"))
    request.scope["state"]["model"] = predictor.spec.name
    return predictor


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


async def server(request: Request) -> Response:
    """Name, version and extensions of the server."""
    return json_response({"name": "whyserve", "version": request.app.version, "extensions": EXTENSIONS})


async def live(_: Request) -> Response:
    """The process is running."""
    return json_response({"live": True})


async def ready(request: Request) -> Response:
    """True until the shutdown starts: the server does not listen before its models are loaded."""
    ready = not _service(request).shutting_down.is_set()
    return json_response({"ready": ready}, 200 if ready else 503)


async def models(request: Request) -> Response:
    """The names of the served models."""
    return json_response({"models": _service(request).catalog.names})


async def model(request: Request) -> Response:
    """A model's tensors."""
    predictor = addressed(request)
    spec = predictor.spec
    inputs = [
        {"name": item.name, "datatype": name_of(item.dtype), "shape": [-1, *item.row_shape]} for item in spec.inputs
    ]
    columns = predictor.manifest.columns
    output = {"name": spec.output.tensor, "datatype": name_of(predictor.output_dtype), "shape": [-1, columns]}
    versions = [str(version) for version in sorted(_service(request).catalog.versions(spec.name))]
    described = {"name": spec.name, "versions": versions, "platform": PLATFORM}
    return json_response({**described, "inputs": inputs, "outputs": [output]})


async def model_ready(request: Request) -> Response:
    """The model is served."""
    return json_response({"name": addressed(request).spec.name, "ready": True})


async def index(request: Request) -> Response:
    """Triton's repository index. The body may request only ready models, and every served model is ready."""
    check_index(await request.body())
    listed = [
        {"name": predictor.spec.name, "version": str(predictor.spec.version), "state": "READY", "reason": ""}
        for predictor in _service(request).catalog.all
    ]
    return json_response(listed)


async def all_statistics(request: Request) -> Response:
    """Statistics of all models."""
    return json_response({"model_stats": [_statistics(predictor) for predictor in _service(request).catalog.all]})


async def statistics(request: Request) -> Response:
    """A model's statistics."""
    return json_response({"model_stats": [_statistics(addressed(request))]})


def _statistics(predictor: Predictor) -> dict[str, Any]:
    """As in Triton's extension. Only requests with tensors count in compute_input and compute_output."""
    totals = predictor.statistics
    batches = totals.batches()
    computed = Duration(totals.succeeded.count, max(0, totals.succeeded.ns - totals.waited.ns))
    parts = {
        "success": totals.succeeded,
        "fail": totals.failed,
        "queue": totals.waited,
        "compute_input": totals.decoded,
        "compute_infer": computed,
        "compute_output": totals.encoded,
        "cache_hit": Duration(),
        "cache_miss": Duration(),
    }
    return {
        "name": predictor.spec.name,
        "version": str(predictor.spec.version),
        "last_inference": int(1000 * totals.last_s),
        "inference_count": totals.rows,
        "execution_count": sum(each.count for each in batches.values()),
        "inference_stats": parts,
        "batch_stats": [{"batch_size": rows, "compute_infer": each} for rows, each in batches.items()],
        "memory_usage": [],
    }
