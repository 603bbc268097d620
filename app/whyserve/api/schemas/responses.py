"""A model's response types."""

from typing import Any, Literal

from whyserve.api.schemas.rows import ROW_ID, RowId, row_type
from whyserve.api.schemas.types import described, list_of, nested, one_of, optional, type_name, typed_dict
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
        unit = f"{spec.output.names[0]}, in {spec.output.unit}" if spec.output.unit else None
        return typed_dict(f"{name}Prediction", {"value": described(float, unit)})
    values = typed_dict(f"{name}Values", dict.fromkeys(spec.output.names, float))
    return typed_dict(f"{name}Prediction", {"values": values})


def predict_response(manifest: Manifest) -> Any:
    spec = manifest.spec
    fields = {"model": one_of([spec.name]), "version": int, "predictions": list_of(prediction_type(spec))}
    fields["out_of_range"] = optional(list_of(list_of(OutOfRange)), "By instance.")
    return typed_dict(f"{type_name(spec.name)}PredictResponse", fields)


def explain_response(manifest: Manifest) -> Any:
    name = type_name(manifest.spec.name)
    near = {"row": int, "distance": float, "instance": row_type(manifest), "prediction": prediction_type(manifest.spec)}
    similar = typed_dict(f"{name}SimilarRow", near, "A background row. distance: in quantiles of the background.")
    explanation = typed_dict(
        f"{name}Explanation",
        {
            ROW_ID: optional(RowId),
            "masks": optional(dict.__class_getitem__((str, LabelMask))),
            "prediction": prediction_type(manifest.spec),
            "outputs": list_of(_output_type(manifest.spec)),
            "out_of_range": optional(list_of(OutOfRange)),
            "reasons": optional(Reasons),
            "similar": optional(list_of(similar)),
            "more_unusual_share": optional(float, MORE_UNUSUAL),
        },
    )
    fields = {
        **computed_fields(manifest.spec),
        "cached": optional(Cached),
        "replay": optional(Replay),
        "explanations": list_of(explanation),
    }
    return typed_dict(f"{name}ExplainResponse", fields)


def computed_fields(spec: ModelSpec) -> dict[str, Any]:
    """The fields that explanations and summaries share: which model and method computed them, and against what."""
    return {
        "id": str,
        "model": one_of([spec.name]),
        "version": int,
        "manifest": described(str, "SHA-256 of the model's manifest."),
        "method": described(Method, "The method that was used."),
        "method_reason": optional(str, "Why it differs from the requested method."),
        "samples": optional(int, "If absent, the method's own number of samples."),
        "expected_distance": optional(float, "mean |φ − reference| / mean |reference|, measured at export."),
        "device": optional(str, "The device of the network. Absent: the CPU."),
        "certified_on": optional(str, "The device of the certificate. Absent: the device of the network."),
        "scale": optional(
            Literal["log_odds", "log_ratio", "difference"],
            "The scale of values and attributions. Absent: that of the outputs.",
        ),
        "instead_of": optional(one_of(spec.output_names), "The output that each one is compared with."),
        "measured_players": optional(dict[str, Any], "The players of expected_distance, as in a request."),
        "interaction_players": optional(list[str], "The rows of interactions."),
        "reliable": optional(bool, "false if the certificate advises against it."),
        "reliable_reason": optional(str, "Why it is not reliable."),
        "background": BackgroundUsed,
        "complete": optional(bool, "false if a deadline ended the method early."),
    }


def _output_type(spec: ModelSpec) -> Any:
    name = type_name(spec.name)
    attributions = attributions_type(spec, "Attributions", "The share of each in value − base_value.", by_token=True)
    missing = {
        feature.name: optional(Literal[True]) for item in spec.inputs for feature in item.features if feature.missing
    }
    return typed_dict(
        f"{name}ExplainedOutput",
        {
            "output": one_of(spec.output_names),
            "value": described(float, "The output predicted for this instance."),
            "base_value": described(float, "The mean output over the background."),
            "attributions": attributions,
            "players": optional(list_of(GroupValue)),
            "tree": optional(list_of(TreeGroup), "With the method owen: its groups of players, outer groups first."),
            "residual": described(float, "value − base_value − the sum of attributions."),
            "standard_errors": optional(attributions),
            "interactions": optional(Interactions),
            **({"missing": optional(typed_dict(f"{name}Missing", missing, MISSING))} if missing else {}),
        },
    )


def attributions_type(spec: ModelSpec, kind: str, description: str, *, by_token: bool) -> Any:
    """Attributions by key: of the elements, or of the players that the model or a request names.

    by_token: those of a text are a list of tokens. Generated clients take the first of the two types that fits: an
    input with a shape has a list of players, and a table with groups lacks some keys.
    """
    elements: dict[str, Any] = {}
    players: dict[str, Any] = {}
    for key, form in ((key, form) for item in spec.inputs for key, form in item.attribution_forms().items()):
        elements[key] = list_of(TokenValue) if form.tokens and by_token else nested(float, form.shape)
        players[key] = optional(list_of(PlayerValue) if form.shape else float)
    whole = typed_dict(f"{type_name(spec.name)}{kind}", elements, description)
    words = f"{description} Where the model or the request names players."
    partly = typed_dict(f"{type_name(spec.name)}Player{kind}", players, words)
    return partly | whole if not spec.is_table else whole | partly


def summary_response(manifest: Manifest) -> Any:
    """What a summary of many rows answers."""
    spec = manifest.spec
    name = type_name(spec.name)
    # A text has one mean per position, because its tokens differ from row to row.
    means = attributions_type(spec, "AttributionMeans", "The mean absolute attribution of each.", by_token=False)
    summarised = typed_dict(
        f"{name}SummarisedOutput",
        {
            "output": one_of(spec.output_names),
            "rows": int,
            "mean_value": float,
            "mean_absolute_attributions": means,
            "players": optional(list_of(GroupValue)),
            "largest_residual": float,
        },
        "One output, over the rows for which it was explained.",
    )
    rows = described(int, "Number of summarised rows: fewer than requested after a deadline.")
    fields = {**computed_fields(spec), "rows": rows, "summary": list_of(summarised)}
    return typed_dict(f"{name}SummaryResponse", fields)


Interactions = described(
    list[list[float]], "Half of each pair's interaction, and main effects on the diagonal. A row sums to one share."
)
MISSING = "The features that had no value in the request. The network got NaN, a category of its own or a fill."
Replay = typed_dict(
    "Replay",
    {
        "prediction": str,
        "program": described(str, "The version of Whyserve that made the prediction."),
        "may_differ": described(list_of(str), "Why numbers may differ from the first answer."),
    },
    "The recorded prediction that was explained again.",
)
Cached = described(bool, "true if it was computed for an earlier request.")
TokenValue = typed_dict(
    "TokenValue",
    {
        "token": described(str, "The token as the tokenizer spells it."),
        "start": described(int, "Its start in the text, in code points from 0."),
        "end": described(int, "Its end, exclusive. Equal to start if it stands for no characters."),
        "value": float,
    },
    "A token of a text and its attribution. The padding counts as one token that stands for no characters.",
)
Label = described(str, "The name of the player.")
PlayerValue = typed_dict(
    "PlayerValue",
    {
        "player": Label,
        "value": float,
        "box": optional(list[int], "Top, left, bottom and right, exclusive."),
        "label": optional(int, "Its label in the mask."),
        "start": optional(int, "Its first step, or its start in the text."),
        "end": optional(int, "Its end, exclusive."),
        "channel": optional(str),
        "members": optional(list[int], "Its positions along the axis of the groups."),
    },
    "A player of an input and its attribution, where the request or the model names players.",
)
GroupValue = typed_dict(
    "GroupValue",
    {"player": Label, "value": float, "members": list[str], "standard_error": optional(float)},
    "A group of features and inputs and its attribution.",
)
TreeGroup = typed_dict(
    "TreeGroup",
    {
        "group": described(str, "The name of the group."),
        "members": described(list_of(str), "Its players and groups."),
        "value": described(float, "The sum of the attributions of its players."),
        "standard_error": float,
    },
    "A group of the tree of players.",
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
        "feature": described(str, "A feature, or a group of features."),
        "text": str,
        "value": described(Any, "As in an instance. Of a group: by feature."),
        "attribution": float,
        "tied_with": optional(list[str], "Features whose attribution differs by less than the errors."),
    },
)
Reasons = typed_dict(
    "Reasons",
    {
        "output": described(str, "The output that decides."),
        "against": described(bool, "Whether this row has the outcome that model.toml names."),
        "named": described(list_of(Reason), "What pushed most towards this row's outcome."),
        "not_named": optional(float, "The share in Σ |attribution| of the features that are never named."),
        "sentence": optional(str, "The reasons in one sentence for people."),
    },
    "The reasons for a row's outcome, for people.",
)
BackgroundUsed = typed_dict(
    "BackgroundUsed",
    {
        "name": described(str, "default, the name of another background of the model, or request."),
        "rows": int,
        "sha256": str,
        "absent": optional(dict[str, str | float], "By input: blur, mean, mask, removal or number."),
    },
    "The background that was used. request: its rows came with the request.",
)
