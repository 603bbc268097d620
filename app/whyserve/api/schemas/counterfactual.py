"""A model's types of a request for counterfactuals and of its answer."""

from typing import Annotated, Any, NotRequired, get_type_hints

from pydantic import Field

from whyserve.api.schemas.columns import columns_type
from whyserve.api.schemas.requests import Version
from whyserve.api.schemas.responses import MORE_UNUSUAL, prediction_type
from whyserve.api.schemas.rows import row_type, rows_type
from whyserve.api.schemas.types import list_of, one_of, type_name, typed_dict
from whyserve.model.manifest import Manifest
from whyserve.predict.decisions import MOST_ROWS, Options


def counterfactual_request(manifest: Manifest) -> Any:
    spec = manifest.spec
    options = get_type_hints(Options, include_extras=True)
    options["output"] = Annotated[(one_of(spec.output_names), *options["output"].__metadata__)]
    fields = {
        "model": one_of([spec.name]),
        "version": NotRequired[Version],
        "instances": NotRequired[rows_type(manifest, MOST_ROWS)],
        "columns": NotRequired[columns_type(manifest, MOST_ROWS)],
        **{name: NotRequired[of] for name, of in options.items()},
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
            "more_unusual_share": Annotated[float, Field(description=MORE_UNUSUAL)],
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
