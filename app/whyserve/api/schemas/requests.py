"""A model's request types. Rows may also come as columns, as a DataFrame's `to_dict("list")` gives them."""

from typing import Annotated, Any

from pydantic import Field

from whyserve.api.schemas.rows import row_fields, rows_type
from whyserve.api.schemas.types import described, list_of, list_or_text, one_of, optional, type_name, typed_dict
from whyserve.errors import InvalidInput
from whyserve.model.manifest import Manifest
from whyserve.model.methods import Method
from whyserve.model.spec import ScaleName
from whyserve.predict.explain_options import MOST_SIMILAR

# Every explained row costs as many evaluations as the background has rows. A model's own backgrounds have as many.
MAX_BACKGROUND_ROWS = 100
Version = described(int, "A version of the model. Default: the current version.", ge=1)

PLAYERS = (
    'What gets one attribution each, by input, such as {"image": {"patches": [4, 4]}}; docs/players.md has all words. '
    "Default: the model's own players."
)
OutOfRangeWanted = described(
    bool, "true: the answer lists the features of each instance that are outside the model's range."
)


def instances_limit(limit: int) -> str:
    """The message for too many instances, like the one that validation makes."""
    return f'"instances" must hold at most {limit}; send fewer instances per request'


def predict_request(manifest: Manifest, limit: int) -> Any:
    """limit: the largest number of instances."""
    return request_type(manifest, "Predict", limit, {"out_of_range": optional(OutOfRangeWanted)})


def explain_request(manifest: Manifest, limit: int) -> Any:
    """limit: the largest number of instances."""
    options = explain_options(manifest.spec.output_names, manifest.spec.output_keywords, _background_type(manifest))
    return request_type(manifest, "Explain", limit, options)


def request_type(manifest: Manifest, kind: str, limit: int, options: dict[str, Any]) -> Any:
    """A request about instances. options: its other fields."""
    name = manifest.spec.name
    fields = {
        "model": one_of([name]),
        "version": optional(Version),
        "instances": optional(rows_type(manifest, limit, with_id=kind == "Explain")),
        "columns": optional(columns_type(manifest, limit)),
    }
    return typed_dict(f"{type_name(name)}{kind}Request", fields | options)


def columns_type(manifest: Manifest, limit: int) -> Any:
    """One list per key of an instance, each with 1 to `limit` values."""
    bounds = Field(min_length=1, max_length=limit, fail_fast=True)
    fields = {key: Annotated[list_of(of), bounds] for key, of in row_fields(manifest).items()}
    words = "One list per key of an instance, all of the same length."
    return typed_dict(f"{type_name(manifest.spec.name)}Columns", fields, words)


def set_instances(request: dict[str, Any]) -> None:
    """Replace the `columns` of a valid request by `instances`.

    Raises InvalidInput if the request has both or neither, or if the columns have different lengths.
    """
    if "columns" not in request:
        if "instances" not in request:
            raise InvalidInput('"instances" is missing', field="instances")
        return
    columns = request.pop("columns")
    if "instances" in request:
        raise InvalidInput('"columns" must not stand beside "instances"; send one of the two', field="columns")
    first, *others = columns
    for name in others:
        if len(columns[name]) != len(columns[first]):
            raise InvalidInput(
                f'"columns.{name}" has {len(columns[name])} values, but "columns.{first}" has {len(columns[first])};'
                " send one value per row in each column",
                field=f"columns.{name}",
            )
    request["instances"] = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _background_type(manifest: Manifest) -> Any:
    names = ", ".join(manifest.spec.explain.files)
    message = f"must be the name of a background ({names}), or a list of instances"
    return list_or_text(rows_type(manifest, MAX_BACKGROUND_ROWS), one_of(manifest.spec.explain.files), message)


def explain_options(labels: tuple[str, ...], keywords: tuple[str, ...], background: Any) -> dict[str, Any]:
    """The optional fields of a request to explain. keywords: instead of names. background: the type of that field."""
    outputs = one_of(keywords) | Annotated[list[str], Field(min_length=1, max_length=len(labels))]
    return {
        "method": optional(Method, "auto is the most accurate method within the model's time budget."),
        "outputs": optional(
            outputs, f"What to explain: {', '.join(keywords)}, or a list of these: {', '.join(labels)}."
        ),
        "scale": optional(
            ScaleName, "log_odds explains log(p/(1 − p)). Default: the model's own; output is the output."
        ),
        "instead_of": optional(
            str, "Another output: explains log(p/q), or of values the difference, to it. all leaves this output out."
        ),
        "interactions": optional(bool, "true, with exact: also the interaction of each pair of features."),
        "samples": optional(int, "Number of samples, for a method that samples.", ge=1, le=100_000),
        "standard_error": optional(
            float,
            "Sample until every standard error is at most this, in the output's unit, or until the deadline.",
            gt=0,
        ),
        "seed": optional(int, "Equal seeds give equal explanations.", ge=0, le=2**63 - 1),
        "background": optional(background, "The background to explain against. Default: the model's own."),
        "players": optional(dict[str, Any], PLAYERS),
        "deadline_s": optional(
            float,
            "Time limit in seconds. A method that samples then returns its best result so far.",
            gt=0,
            le=86_400,
        ),
        "reasons": optional(
            bool, "true: each explanation has the reasons for people, of the outcome in [reasons] of model.toml."
        ),
        "language": optional(str, "The language of the reasons. Default: that of model.toml.", max_length=40),
        "similar": optional(
            int,
            "How many of the most similar background rows each explanation has. 0: only how unusual the instance is.",
            ge=0,
            le=MOST_SIMILAR,
        ),
        "summary": optional(bool, "true: one summary of all instances. It replaces the explanation of each instance."),
    }
