"""Each model's own types: its row, its requests and its answers. One adapter a model set reads a request."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, NotRequired

from pydantic import ConfigDict, Discriminator, Field, Tag, TypeAdapter
from typing_extensions import TypedDict

from whyserve.model.image import LEVELS, MOST_TEXT, Layout
from whyserve.model.input_spec import Feature, InputSpec
from whyserve.model.manifest import Manifest
from whyserve.model.methods import Method
from whyserve.model.spec import ModelSpec
from whyserve.model.text import most_letters

make_typed_dict: Any = TypedDict  # called with names and fields that a type checker cannot see
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
INTEGER_BOUNDS = {
    "int8": (-(2**7), 2**7 - 1),
    "int16": (-(2**15), 2**15 - 1),
    "int32": (-(2**31), 2**31 - 1),
    "int64": (-(2**63), 2**63 - 1),
    "uint8": (0, 255),
}
# Each is paid for by every row that is explained; a model's own backgrounds have as many.
MOST_BACKGROUND_ROWS = 100
Version = Annotated[int, Field(ge=1, description="A version of the model; the one served if left out.")]


def type_name(name: str) -> str:
    """breast_cancer → BreastCancer."""
    return "".join(part.capitalize() for part in name.split("_"))


def typed_dict(name: str, fields: dict[str, Any], description: str | None = None) -> Any:
    """A TypedDict that refuses other keys and converts nothing."""
    made = make_typed_dict(name, fields)
    made.__pydantic_config__ = ConfigDict(**STRICT, title=name)
    made.__doc__ = description
    return made


def one_of(values: Iterable[str]) -> Any:
    """A Literal of values known at run time only."""
    return Literal.__getitem__(tuple(values))


def list_of(item: Any) -> Any:
    """A list of a type known at run time only."""
    return list.__class_getitem__(item)


def row_type(manifest: Manifest) -> Any:
    """What one instance of this model is."""
    spec = manifest.spec
    fields: dict[str, Any] = {}
    for item in spec.inputs:
        if item.is_tabular:
            fields.update({f.name: _feature_type(item, f, manifest) for f in item.features})
        elif item.tokenizer:
            words = f"A text that makes at most {item.shape[0]} tokens, one of them known to the model."
            fields[item.name] = Annotated[str, Field(min_length=1, max_length=most_letters(item), description=words)]
        else:
            fields[item.name] = _other_type(item, manifest.vocabularies.get(item.name))
    return typed_dict(f"{type_name(spec.name)}Row", fields, f"One instance of {spec.name}.")


def _other_type(item: InputSpec, vocabulary: int | None) -> Any:
    """An input that is no table: nested lists, or, of an image, a picture."""
    layout = Layout.of(item)
    words = f"{item.kind}, {item.dtype}"
    if layout is None:
        return nested(_number(item, vocabulary), item.shape, words)
    low, high = item.range or LEVELS
    words += f", {low:g} for black and {high:g} for white; or a PNG or JPEG in base64, {layout.mode}"
    words += f", of {layout.width} × {layout.height} pixels"
    text = Annotated[str, Field(max_length=MOST_TEXT, json_schema_extra={"contentEncoding": "base64"})]
    fault = "must be a list, or a PNG or JPEG in base64"
    return Annotated[
        list_or_text(nested(_number(item), item.shape), text, fault),
        Field(description=words, json_schema_extra={"x-range": [low, high]}),
    ]


def _feature_type(item: InputSpec, feature: Feature, manifest: Manifest) -> Any:
    if feature.categories:
        return Annotated[one_of(feature.categories), Field(description=feature.description)]
    low, high = manifest.ranges[feature.name]
    words = " ".join(part for part in (feature.description, feature.unit and f"In {feature.unit}.") if part)
    extra: dict[str, Any] = {"x-range": [low, high], **({"x-unit": feature.unit} if feature.unit else {})}
    return Annotated[
        _number(item),
        Field(
            description=f"{words} From {low:.6g} to {high:.6g} in the background.".strip(),
            json_schema_extra=extra,
        ),
    ]


def _number(item: InputSpec, vocabulary: int | None = None) -> Any:
    if not item.is_integer:
        return float
    low, high = INTEGER_BOUNDS[item.dtype] if vocabulary is None else (0, vocabulary - 1)
    return Annotated[int, Field(ge=low, le=high)]


def nested(of: Any, shape: tuple[int, ...], description: str | None = None) -> Any:
    """Lists in lists, of exactly this shape; reading stops at the first fault."""
    made = of
    for size in reversed(shape):
        made = Annotated[list_of(made), Field(min_length=size, max_length=size, fail_fast=True)]
    return Annotated[made, Field(description=description)]


def rows_type(manifest: Manifest, most: int) -> Any:
    """A list of 1 to `most` rows."""
    return Annotated[list_of(row_type(manifest)), Field(min_length=1, max_length=most, fail_fast=True)]


def list_or_text(items: Any, text: Any, words: str) -> Any:
    """A list or a string, of these types; words: said of what is neither. Faults are of the one that it is."""

    def which(value: Any) -> str | None:
        return "[list]" if isinstance(value, list) else "[text]" if isinstance(value, str) else None

    # An error's place leaves out parts with brackets.
    union = Annotated[items, Tag("[list]")] | Annotated[text, Tag("[text]")]
    return Annotated[union, Discriminator(which, custom_error_type="list_or_text", custom_error_message=words)]


def request_type(manifest: Manifest, kind: str, most: int, extra: dict[str, Any]) -> Any:
    """A request of one model; `model` tells it from the others'."""
    name = manifest.spec.name
    fields = {
        "model": one_of([name]),
        "version": NotRequired[Version],
        "instances": rows_type(manifest, most),
    }
    return typed_dict(f"{type_name(name)}{kind}Request", fields | extra)


def predict_request(manifest: Manifest, most: int) -> Any:
    return request_type(manifest, "Predict", most, {})


def explain_request(manifest: Manifest, most: int) -> Any:
    return request_type(
        manifest, "Explain", most, explain_options(manifest.spec.output_names, background_type(manifest))
    )


def background_type(manifest: Manifest) -> Any:
    """What a request may name or hold as background."""
    names = ", ".join(manifest.spec.explain.files)
    words = f"must be the name of a background ({names}), or a list of instances"
    return list_or_text(rows_type(manifest, MOST_BACKGROUND_ROWS), one_of(manifest.spec.explain.files), words)


def explain_options(labels: tuple[str, ...], background: Any) -> dict[str, Any]:
    """What a request to explain may ask for beside its rows. background: the type of that."""
    outputs = Annotated[
        Literal["top", "all"] | Annotated[list[str], Field(min_length=1, max_length=len(labels))],
        Field(
            description=f"Which outputs to explain: the one predicted, all, or some of {', '.join(labels)}.",
        ),
    ]
    samples = Annotated[int, Field(ge=1, le=100_000, description="How much to sample, for a method that samples.")]
    seed = Annotated[int, Field(ge=0, le=2**63 - 1, description="Equal seeds give equal answers.")]
    deadline = Annotated[float, Field(gt=0, le=86_400, description="Seconds that it may take; then what there is.")]
    return {
        "method": NotRequired[Annotated[Method, Field(description="auto is the truest method within the budget.")]],
        "outputs": NotRequired[outputs],
        "samples": NotRequired[samples],
        "seed": NotRequired[seed],
        "background": NotRequired[
            Annotated[
                background, Field(description="What to explain against; the model's default background if left out.")
            ]
        ],
        "deadline_s": NotRequired[deadline],
        "summary": NotRequired[Annotated[bool, Field(description="What counts on the whole, in place of each row.")]],
    }


def prediction_type(spec: ModelSpec) -> Any:
    """What is answered for one instance."""
    name = type_name(spec.name)
    if spec.task == "classification":
        scores = typed_dict(f"{name}Scores", dict.fromkeys(spec.output.labels, float))
        return typed_dict(f"{name}Prediction", {"label": one_of(spec.output.labels), "scores": scores})
    if len(spec.output.names) == 1:
        unit = Field(description=f"{spec.output.names[0]}, in {spec.output.unit}" if spec.output.unit else None)
        return typed_dict(f"{name}Prediction", {"value": Annotated[float, unit]})
    values = typed_dict(f"{name}Values", dict.fromkeys(spec.output.names, float))
    return typed_dict(f"{name}Prediction", {"values": values})


def predict_response(manifest: Manifest) -> Any:
    spec = manifest.spec
    fields = {"model": one_of([spec.name]), "version": int, "predictions": list_of(prediction_type(spec))}
    return typed_dict(f"{type_name(spec.name)}PredictResponse", fields)


def explain_response(manifest: Manifest) -> Any:
    spec = manifest.spec
    name = type_name(spec.name)
    by_key = {
        key: list_of(TokenValue) if form.tokens else nested(float, form.shape)
        for item in spec.inputs
        for key, form in item.attribution_forms().items()
    }
    attributions = typed_dict(f"{name}Attributions", by_key, "How much of value − base_value is due to each.")
    output = typed_dict(
        f"{name}ExplainedOutput",
        {
            "output": one_of(spec.output_names),
            "value": Annotated[float, Field(description="The output served for this instance.")],
            "base_value": Annotated[float, Field(description="The mean output over the background.")],
            "attributions": attributions,
            "residual": Annotated[float, Field(description="value − base_value − the sum of attributions.")],
            "standard_errors": NotRequired[attributions],
        },
    )
    explanation = typed_dict(f"{name}Explanation", {"prediction": prediction_type(spec), "outputs": list_of(output)})
    fields = {
        "id": str,
        "model": one_of([spec.name]),
        "version": int,
        "manifest": Annotated[str, Field(description="SHA-256 of the manifest that predicted and explained.")],
        "method": Annotated[Method, Field(description="The method in fact used.")],
        "method_reason": NotRequired[Annotated[str, Field(description="Why, where it is not the one asked for.")]],
        "expected_distance": NotRequired[
            Annotated[float, Field(description="mean |φ − reference| over mean |reference|, measured at export.")]
        ],
        "background": BackgroundUsed,
        "complete": NotRequired[Annotated[bool, Field(description="false when a deadline cut the method short.")]],
        "cached": NotRequired[Annotated[bool, Field(description="true where it was computed for an earlier request.")]],
        "explanations": list_of(explanation),
    }
    return typed_dict(f"{name}ExplainResponse", fields)


TokenValue = typed_dict(
    "TokenValue",
    {
        "token": Annotated[str, Field(description="As the tokenizer has it.")],
        "start": Annotated[int, Field(description="Where in the text it begins, in code points from 0.")],
        "end": Annotated[int, Field(description="Where it has ended; as start, where it stands for no letters.")],
        "value": float,
    },
    "A token of a text, and what is due to it. The padding is one, and stands for no letters.",
)
BackgroundUsed = typed_dict(
    "BackgroundUsed",
    {
        "name": Annotated[
            str, Field(description="default, another of the model's, or request: its rows came with it.")
        ],
        "rows": int,
        "sha256": str,
    },
)


def union(types: list[Any]) -> Any:
    """The types as one, told apart by `model`."""
    if len(types) == 1:
        return types[0]
    joined = types[0]
    for other in types[1:]:
        joined = joined | other
    return Annotated[joined, Field(discriminator="model")]


def adapter(of: Any) -> TypeAdapter[Any]:
    return TypeAdapter(of)
