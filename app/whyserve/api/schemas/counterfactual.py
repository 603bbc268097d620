"""A model's types of a request for counterfactuals and of its answer."""

from typing import Annotated, Any, get_type_hints

from whyserve.api.schemas.requests import request_type
from whyserve.api.schemas.responses import MORE_UNUSUAL, prediction_type
from whyserve.api.schemas.rows import row_type
from whyserve.api.schemas.types import described, list_of, one_of, optional, type_name, typed_dict
from whyserve.model.manifest import Manifest
from whyserve.predict.decisions import MOST_ROWS, Options


def counterfactual_request(manifest: Manifest) -> Any:
    options = get_type_hints(Options, include_extras=True)
    options["output"] = Annotated[(one_of(manifest.spec.output_names), *options["output"].__metadata__)]
    fields = {name: optional(of) for name, of in options.items()}
    return request_type(manifest, "Counterfactual", MOST_ROWS, fields)


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
            "more_unusual_share": described(float, MORE_UNUSUAL),
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
