"""Request types of the Open Inference Protocol and of KServe's V1 that oip/schema.py does not have.

oip/schema.py accepts any parameters. The document says which ones an inference and an explanation use.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict

from whyserve.api.oip.schema import LENIENT
from whyserve.api.schemas.requests import explain_options
from whyserve.api.schemas.types import make_typed_dict, typed_dict

# The options of /explain that these protocols accept too. The path names the model, so no output names are listed.
OUTPUTS = "What to explain: top, all, positive (of multilabel: the labels that are on), or a list of names."
OPTIONS = {
    **{key: of for key, of in explain_options(("any",), ("all",), str).items() if key not in ("outputs", "summary")},
    "outputs": NotRequired[Annotated[Literal["top", "all", "positive"] | list[str], Field(description=OUTPUTS)]],
}


@with_config(LENIENT)
class InferParameters(TypedDict):
    """binary_data_output: send all outputs as bytes, unless an output has its own setting."""

    binary_data_output: NotRequired[bool]


ExplainParameters = with_config(LENIENT)(
    make_typed_dict("ExplainParameters", {"binary_data_output": NotRequired[bool], **OPTIONS})
)


def kserve_requests(limit: int) -> tuple[Any, Any]:
    """V1's requests to predict and to explain. limit: the largest number of instances."""
    words = "Rows as in /predict. For a model with one input, also that input's numbers or text."
    instances = {"instances": Annotated[list[Any], Field(min_length=1, max_length=limit, description=words)]}
    return typed_dict("KservePredictRequest", instances), typed_dict("KserveExplainRequest", instances | OPTIONS)
