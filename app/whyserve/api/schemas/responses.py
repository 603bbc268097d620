"""A model's response types."""

from typing import Annotated, Any, NotRequired

from pydantic import Field

from whyserve.api.schemas.rows import ROW_ID, RowId
from whyserve.api.schemas.types import list_of, nested, one_of, type_name, typed_dict
from whyserve.model.manifest import Manifest
from whyserve.model.methods import Method
from whyserve.model.spec import ModelSpec


def prediction_type(spec: ModelSpec) -> Any:
    """The prediction for one instance."""
    name = type_name(spec.name)
    if spec.task != "regression":
        label = one_of(spec.output.labels)
        scores = typed_dict(f"{name}Scores", dict.fromkeys(spec.output.labels, float))
        said = {"labels": list_of(label)} if spec.task == "multilabel" else {"label": label}
        return typed_dict(f"{name}Prediction", {**said, "scores": scores})
    if len(spec.output.names) == 1:
        unit = Field(description=f"{spec.output.names[0]}, in {spec.output.unit}" if spec.output.unit else None)
        return typed_dict(f"{name}Prediction", {"value": Annotated[float, unit]})
    values = typed_dict(f"{name}Values", dict.fromkeys(spec.output.names, float))
    return typed_dict(f"{name}Prediction", {"values": values})


def predict_response(manifest: Manifest) -> Any:
    spec = manifest.spec
    fields = {"model": one_of([spec.name]), "version": int, "predictions": list_of(prediction_type(spec))}
    fields["out_of_range"] = NotRequired[Annotated[list_of(list_of(OutOfRange)), Field(description="By instance.")]]
    return typed_dict(f"{type_name(spec.name)}PredictResponse", fields)


def explain_response(manifest: Manifest) -> Any:
    name = type_name(manifest.spec.name)
    explanation = typed_dict(
        f"{name}Explanation",
        {
            ROW_ID: NotRequired[RowId],
            "prediction": prediction_type(manifest.spec),
            "outputs": list_of(_output_type(manifest.spec)),
            "out_of_range": NotRequired[list_of(OutOfRange)],
        },
    )
    fields = {**computed_fields(manifest.spec), "cached": NotRequired[Cached], "explanations": list_of(explanation)}
    return typed_dict(f"{name}ExplainResponse", fields)


def computed_fields(spec: ModelSpec) -> dict[str, Any]:
    """The fields that explanations and summaries share: which model and method computed them, and against what."""
    return {
        "id": str,
        "model": one_of([spec.name]),
        "version": int,
        "manifest": Annotated[str, Field(description="SHA-256 of the model's manifest.")],
        "method": Annotated[Method, Field(description="The method that was used.")],
        "method_reason": NotRequired[Annotated[str, Field(description="Why it differs from the requested method.")]],
        "expected_distance": NotRequired[
            Annotated[float, Field(description="mean |φ − reference| / mean |reference|, measured at export.")]
        ],
        "reliable": NotRequired[Annotated[bool, Field(description="false if the certificate advises against it.")]],
        "reliable_reason": NotRequired[Annotated[str, Field(description="Why it is not reliable.")]],
        "background": BackgroundUsed,
        "complete": NotRequired[Annotated[bool, Field(description="false if a deadline ended the method early.")]],
    }


def _output_type(spec: ModelSpec) -> Any:
    name = type_name(spec.name)
    by_key = {
        key: list_of(TokenValue) if form.tokens else nested(float, form.shape)
        for item in spec.inputs
        for key, form in item.attribution_forms().items()
    }
    attributions = typed_dict(f"{name}Attributions", by_key, "The share of each in value − base_value.")
    return typed_dict(
        f"{name}ExplainedOutput",
        {
            "output": one_of(spec.output_names),
            "value": Annotated[float, Field(description="The output predicted for this instance.")],
            "base_value": Annotated[float, Field(description="The mean output over the background.")],
            "attributions": attributions,
            "residual": Annotated[float, Field(description="value − base_value − the sum of attributions.")],
            "standard_errors": NotRequired[attributions],
        },
    )


Cached = Annotated[bool, Field(description="true if it was computed for an earlier request.")]
TokenValue = typed_dict(
    "TokenValue",
    {
        "token": Annotated[str, Field(description="The token as the tokenizer spells it.")],
        "start": Annotated[int, Field(description="Its start in the text, in code points from 0.")],
        "end": Annotated[int, Field(description="Its end, exclusive. Equal to start if it stands for no characters.")],
        "value": float,
    },
    "A token of a text and its attribution. The padding counts as one token that stands for no characters.",
)
OutOfRange = typed_dict(
    "OutOfRange",
    {"feature": str, "value": float, "low": float, "high": float},
    "A feature whose value is outside the range that the model was compared with.",
)
BackgroundUsed = typed_dict(
    "BackgroundUsed",
    {
        "name": Annotated[str, Field(description="default, the name of another background of the model, or request.")],
        "rows": int,
        "sha256": str,
    },
    "The background that was used. request: its rows came with the request.",
)
