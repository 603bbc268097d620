"""A model's types of a request for counterfactuals and of its answer."""

from typing import Annotated, Any, NotRequired

from pydantic import Field

from whyserve.api.schemas.columns import columns_type
from whyserve.api.schemas.requests import Version
from whyserve.api.schemas.responses import prediction_type
from whyserve.api.schemas.rows import row_type, rows_type
from whyserve.api.schemas.types import list_of, one_of, type_name, typed_dict
from whyserve.model.changes import Change
from whyserve.model.manifest import Manifest
from whyserve.predict.counterfactuals import MOST_CHANGED
from whyserve.predict.decisions import SEARCH_S

MOST_INSTANCES, MOST_COUNT = 10, 10
LONGEST_SEARCH_S = 10.0


def counterfactual_request(manifest: Manifest) -> Any:
    spec = manifest.spec
    output = "The output that decides. Default: that of [reasons] in model.toml, or the label of each row."
    threshold = "The decision is that the output is at least this number, or not. Default: that of model.toml."
    fields = {
        "model": one_of([spec.name]),
        "version": NotRequired[Version],
        "instances": NotRequired[rows_type(manifest, MOST_INSTANCES)],
        "columns": NotRequired[columns_type(manifest, MOST_INSTANCES)],
        "output": NotRequired[Annotated[one_of(spec.output_names), Field(description=output)]],
        "threshold": NotRequired[Annotated[float, Field(description=threshold)]],
        "count": NotRequired[Annotated[int, Field(ge=1, le=MOST_COUNT, description="Per instance. Default: 1.")]],
        "most_changed": NotRequired[
            Annotated[int, Field(ge=1, le=MOST_CHANGED, description="Features that change at most. Default: 3.")]
        ],
        "changes": NotRequired[
            Annotated[dict[str, Change], Field(description="How features may change, beside what model.toml says.")]
        ],
        "deadline_s": NotRequired[
            Annotated[
                float,
                Field(
                    gt=0,
                    le=LONGEST_SEARCH_S,
                    description=f"Of the search of one instance, in seconds. Default: {SEARCH_S:g}.",
                ),
            ]
        ],
    }
    return typed_dict(f"{type_name(spec.name)}CounterfactualRequest", fields)


def counterfactual_response(manifest: Manifest) -> Any:
    spec = manifest.spec
    name = type_name(spec.name)
    near = typed_dict(
        f"{name}BackgroundRow",
        {"row": int, "distance": float, "instance": row_type(manifest)},
        "The nearest background row. Only if model.toml allows to show the background.",
    )
    found = typed_dict(
        f"{name}Counterfactual",
        {
            "changes": Annotated[dict[str, Any], Field(description="The new value of each changed feature.")],
            "instance": row_type(manifest),
            "prediction": prediction_type(spec),
            "distance": Annotated[float, Field(description="Σ over features, in quantiles of the background.")],
            "nearest_background": NotRequired[near],
        },
    )
    row = typed_dict(
        f"{name}Counterfactuals",
        {
            "prediction": prediction_type(spec),
            "output": one_of(spec.output_names),
            "found": Annotated[list_of(found), Field(description="With the fewest changes first, then the nearest.")],
            "tried": Annotated[int, Field(description="How many rows were evaluated.")],
            "complete": Annotated[bool, Field(description="false if the search ended at a limit.")],
            "none": NotRequired[Annotated[str, Field(description="Within which limits none was found.")]],
        },
    )
    fields = {"model": one_of([spec.name]), "version": int, "manifest": str, "counterfactuals": list_of(row)}
    return typed_dict(f"{name}CounterfactualResponse", fields)
