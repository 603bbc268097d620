"""A model's response types."""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field

from whyserve.api.schemas.rows import ROW_ID, RowId, row_type
from whyserve.api.schemas.types import list_of, nested, one_of, type_name, typed_dict
from whyserve.model.input_spec import AttributionForm
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
    near = {"row": int, "distance": float, "instance": row_type(manifest), "prediction": prediction_type(manifest.spec)}
    similar = typed_dict(f"{name}SimilarRow", near, "A background row. distance: in quantiles of the background.")
    explanation = typed_dict(
        f"{name}Explanation",
        {
            ROW_ID: NotRequired[RowId],
            "masks": NotRequired[dict.__class_getitem__((str, LabelMask))],
            "prediction": prediction_type(manifest.spec),
            "outputs": list_of(_output_type(manifest.spec)),
            "out_of_range": NotRequired[list_of(OutOfRange)],
            "reasons": NotRequired[Reasons],
            "similar": NotRequired[list_of(similar)],
            "more_unusual_share": NotRequired[Annotated[float, Field(description=MORE_UNUSUAL)]],
        },
    )
    fields = {
        **computed_fields(manifest.spec),
        "cached": NotRequired[Cached],
        "replay": NotRequired[Replay],
        "explanations": list_of(explanation),
    }
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
        "samples": NotRequired[Annotated[int, Field(description="If absent, the method's own number of samples.")]],
        "expected_distance": NotRequired[
            Annotated[float, Field(description="mean |φ − reference| / mean |reference|, measured at export.")]
        ],
        "device": NotRequired[Annotated[str, Field(description="The device of the network. Absent: the CPU.")]],
        "certified_on": NotRequired[
            Annotated[str, Field(description="The device of the certificate. Absent: the device of the network.")]
        ],
        "scale": NotRequired[
            Annotated[
                Literal["log_odds", "log_ratio", "difference"],
                Field(description="The scale of values and attributions. Absent: that of the outputs."),
            ]
        ],
        "instead_of": NotRequired[
            Annotated[one_of(spec.output_names), Field(description="The output that each one is compared with.")]
        ],
        "players": NotRequired[Annotated[list[str], Field(description="The rows of each output's interactions.")]],
        "reliable": NotRequired[Annotated[bool, Field(description="false if the certificate advises against it.")]],
        "reliable_reason": NotRequired[Annotated[str, Field(description="Why it is not reliable.")]],
        "background": BackgroundUsed,
        "complete": NotRequired[Annotated[bool, Field(description="false if a deadline ended the method early.")]],
    }


def _output_type(spec: ModelSpec) -> Any:
    name = type_name(spec.name)
    by_key = {
        key: NotRequired[_attribution_type(form)]
        for item in spec.inputs
        for key, form in item.attribution_forms().items()
    }
    attributions = typed_dict(f"{name}Attributions", by_key, "The share of each in value − base_value.")
    missing = {
        feature.name: NotRequired[Literal[True]] for item in spec.inputs for feature in item.features if feature.missing
    }
    return typed_dict(
        f"{name}ExplainedOutput",
        {
            "output": one_of(spec.output_names),
            "value": Annotated[float, Field(description="The output predicted for this instance.")],
            "base_value": Annotated[float, Field(description="The mean output over the background.")],
            "attributions": attributions,
            "players": NotRequired[list_of(GroupValue)],
            "residual": Annotated[float, Field(description="value − base_value − the sum of attributions.")],
            "standard_errors": NotRequired[attributions],
            "interactions": NotRequired[Interactions],
            **({"missing": NotRequired[typed_dict(f"{name}Missing", missing, MISSING)]} if missing else {}),
        },
    )


def _attribution_type(form: AttributionForm) -> Any:
    """The elements' attributions, or those of the players that a request asks for."""
    elements = list_of(TokenValue) if form.tokens else nested(float, form.shape)
    return elements | list_of(PlayerValue) if form.tokens or form.shape else elements


Interactions = Annotated[
    list[list[float]],
    Field(description="Half of each pair's interaction, and main effects on the diagonal. A row sums to one share."),
]
MISSING = "The features that had no value in the request. The network got NaN, a category of its own or a fill."
Replay = typed_dict(
    "Replay",
    {
        "prediction": str,
        "program": Annotated[str, Field(description="The version of Whyserve that made the prediction.")],
        "may_differ": Annotated[list_of(str), Field(description="Why numbers may differ from the first answer.")],
    },
    "The recorded prediction that was explained again.",
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
Label = Annotated[str, Field(description="The name of the player.")]
PlayerValue = typed_dict(
    "PlayerValue",
    {
        "player": Label,
        "value": float,
        "box": NotRequired[Annotated[list[int], Field(description="Top, left, bottom and right, exclusive.")]],
        "label": NotRequired[Annotated[int, Field(description="Its label in the mask.")]],
        "start": NotRequired[Annotated[int, Field(description="Its first step, or its start in the text.")]],
        "end": NotRequired[Annotated[int, Field(description="Its end, exclusive.")]],
        "channel": NotRequired[str],
        "members": NotRequired[Annotated[list[int], Field(description="Its positions along the axis of the groups.")]],
    },
    "A player of an input and its attribution, where the request or the model names players.",
)
GroupValue = typed_dict(
    "GroupValue",
    {"player": Label, "value": float, "members": list[str], "standard_error": NotRequired[float]},
    "A group of features and inputs and its attribution.",
)
LabelMask = typed_dict(
    "LabelMask",
    {"shape": list[int], "runs": list[list[int]]},
    "The label of each pixel, row by row: each run is a label and how often it follows.",
)
OutOfRange = typed_dict(
    "OutOfRange",
    {"feature": str, "value": float, "low": float, "high": float},
    "A feature whose value is outside the range that the model was compared with.",
)
MORE_UNUSUAL = (
    "The share of background rows that are farther from their fifth nearest background row than this instance is."
    " 0: no background row is as unusual."
)
Reason = typed_dict(
    "Reason",
    {
        "code": str,
        "feature": Annotated[str, Field(description="A feature, or a group of features.")],
        "text": str,
        "value": Annotated[Any, Field(description="As in an instance. Of a group: by feature.")],
        "attribution": float,
        "tied_with": NotRequired[
            Annotated[list[str], Field(description="Features whose attribution differs by less than the errors.")]
        ],
    },
)
Reasons = typed_dict(
    "Reasons",
    {
        "output": Annotated[str, Field(description="The output that decides.")],
        "against": Annotated[bool, Field(description="Whether this row has the outcome that model.toml names.")],
        "named": Annotated[list_of(Reason), Field(description="What pushed most towards this row's outcome.")],
        "not_named": NotRequired[
            Annotated[float, Field(description="The share in Σ |attribution| of the features that are never named.")]
        ],
        "sentence": NotRequired[Annotated[str, Field(description="The reasons in one sentence for people.")]],
    },
    "The reasons for a row's outcome, for people.",
)
BackgroundUsed = typed_dict(
    "BackgroundUsed",
    {
        "name": Annotated[str, Field(description="default, the name of another background of the model, or request.")],
        "rows": int,
        "sha256": str,
        "absent": NotRequired[Annotated[dict[str, str | float], Field(description="By input: blur, mean or number.")]],
    },
    "The background that was used. request: its rows came with the request.",
)
