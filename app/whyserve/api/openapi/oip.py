"""What the OpenAPI document of the Open Inference Protocol and of KServe's V1 takes from the models and the parsers.

FastAPI makes the paths of api/routes/oip.py. The types of requests and examples are added here.
"""

from typing import Any, Literal

from pydantic import with_config

from whyserve.api.oip.encoding import DATATYPES, name_of
from whyserve.api.oip.schema import LENIENT, IndexRequest, InferRequest
from whyserve.api.openapi.components import JSON, add, ref
from whyserve.api.openapi.oip_responses import OipError
from whyserve.api.schemas.requests import explain_options
from whyserve.api.schemas.types import described, make_typed_dict, optional, type_name, typed_dict
from whyserve.predict.decisions import Options
from whyserve.predict.predictor import Predictor

# Longer examples would be most of the document.
MAX_EXAMPLE_NUMBERS = 1000
# The options of /explain that these protocols accept too. The path names the model, so no output names are listed.
OUTPUTS = "What to explain: top, all, positive (of multilabel: the labels that are on), or a list of names."
OPTIONS = {
    **{key: of for key, of in explain_options(("any",), ("all",), str).items() if key not in ("outputs", "summary")},
    "outputs": optional(Literal["top", "all", "positive"] | list[str], OUTPUTS),
}
Counterfactual = described(Literal[True] | str | Options, "Counterfactuals instead of attributions: true, or options.")
# The parser of tensors accepts any parameters. The document says which ones an explanation uses.
ExplainParameters = with_config(LENIENT)(
    make_typed_dict(
        "ExplainParameters",
        {"binary_data_output": optional(bool), "counterfactual": optional(Counterfactual), **OPTIONS},
    )
)


def add_protocols(document: dict[str, Any], predictors: list[Predictor], limit: int) -> None:
    """limit: the largest number of instances in one request."""
    components = document["components"]["schemas"]
    add(components, OipError, "serialization")
    for request in (InferRequest, IndexRequest, ExplainParameters, *_kserve_requests(limit)):
        add(components, request, "validation")
    # The parser accepts any string, because its own error message is better than that of an enum.
    components["Tensor"]["properties"]["datatype"]["enum"] = list(DATATYPES)
    components["ModelName"] = _names([each.spec.name for each in predictors])
    request, parameters = components["InferRequest"], {"parameters": ref("ExplainParameters")}
    properties = {**request["properties"], **parameters}
    components["ExplainTensorsRequest"] = {**request, "title": "ExplainTensorsRequest", "properties": properties}
    tensors = {each.spec.name: {"inputs": _tensors(each)} for each in predictors}
    sizes = {name: sum(len(tensor["data"]) for tensor in each["inputs"]) for name, each in tensors.items()}
    short = {name: each for name, each in tensors.items() if sizes[name] <= MAX_EXAMPLE_NUMBERS}
    rows = {each.spec.name: {"instances": each.manifest.example["instances"]} for each in predictors}
    for path, verbs in document["paths"].items():
        if path.startswith(("/v1/", "/v2/models/")) and "requestBody" in verbs.get("post", {}):
            examples = rows if path.startswith("/v1/") else short
            body = verbs["post"]["requestBody"]["content"][JSON]
            body["examples"] = {name: {"value": value} for name, value in examples.items()}


def _kserve_requests(limit: int) -> tuple[Any, Any]:
    """V1's requests to predict and to explain."""
    words = "Rows as in /predict. For a model with one input, also that input's numbers or text."
    instances = {"instances": described(list[Any], words, min_length=1, max_length=limit)}
    return typed_dict("KservePredictRequest", instances), typed_dict("KserveExplainRequest", instances | OPTIONS)


def _names(names: list[str]) -> dict[str, Any]:
    """The names of models. Client generators make constants of them, in which a-b and a_b would be the same."""
    constants = [name if (made := type_name(name)).isalnum() else made for name in names]
    varnames = [constant.upper() for constant in constants]
    return {"title": "ModelName", "type": "string", "enum": names, "x-enum-varnames": varnames}


def _tensors(predictor: Predictor) -> list[dict[str, Any]]:
    """The model's example request as tensors."""
    arrays = predictor.arrays(predictor.manifest.example["instances"])
    return [
        {
            "name": name,
            "shape": list(array.shape),
            "datatype": name_of(array.dtype),
            "data": [float(str(x)) if array.dtype.kind == "f" else x.item() for x in array.reshape(-1)],
        }
        for name, array in arrays.items()
    ]
