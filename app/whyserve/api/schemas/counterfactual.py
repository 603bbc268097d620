"""A model's types of a request for counterfactuals and of its answer."""

from typing import Any

from whyserve.api.schemas.columns import columns_type
from whyserve.api.schemas.requests import Version
from whyserve.api.schemas.responses import prediction_type
from whyserve.api.schemas.rows import row_type, rows_type
from whyserve.api.schemas.types import described, list_of, one_of, optional, type_name, typed_dict
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
        "version": optional(Version),
        "instances": optional(rows_type(manifest, MOST_INSTANCES)),
        "columns": optional(columns_type(manifest, MOST_INSTANCES)),
        "output": optional(one_of(spec.output_names), output),
        "threshold": optional(float, threshold),
        "count": optional(int, "Per instance. Default: 1.", ge=1, le=MOST_COUNT),
        "most_changed": optional(int, "Features that change at most. Default: 3.", ge=1, le=MOST_CHANGED),
        "changes": optional(dict[str, Change], "How features may change, beside what model.toml says."),
        "deadline_s": optional(
            float, f"Of the search of one instance, in seconds. Default: {SEARCH_S:g}.", gt=0, le=LONGEST_SEARCH_S
        ),
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
            "changes": described(dict[str, Any], "The new value of each changed feature."),
            "instance": row_type(manifest),
            "prediction": prediction_type(spec),
            "distance": described(float, "Σ over features, in quantiles of the background."),
            "nearest_background": optional(near),
        },
    )
    row = typed_dict(
        f"{name}Counterfactuals",
        {
            "prediction": prediction_type(spec),
            "output": one_of(spec.output_names),
            "found": described(list_of(found), "With the fewest changes first, then the nearest."),
            "tried": described(int, "How many rows were evaluated."),
            "complete": described(bool, "false if the search ended at a limit."),
            "none": optional(str, "Within which limits none was found."),
        },
    )
    fields = {"model": one_of([spec.name]), "version": int, "manifest": str, "counterfactuals": list_of(row)}
    return typed_dict(f"{name}CounterfactualResponse", fields)
